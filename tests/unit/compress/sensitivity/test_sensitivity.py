"""What each layer alone costs each head."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import compress.sensitivity.cli
from compress.sensitivity.cli import main
from runtime.arrays import Logits
from train.checkpoint import load_checkpoint
from train.graph import write_graph

pytestmark = pytest.mark.usefixtures("one_thread")


def arguments(checkpoint: Path, lamps: Path, output: Path, *more: str) -> list[str]:
    return [str(checkpoint), "--data", str(lamps / "val"), "-o", str(output), *more]


@pytest.fixture(scope="module")
def report(lamps_checkpoint: Path, lamps: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("sensitivity") / "out"
    assert main(arguments(lamps_checkpoint, lamps, folder, "--crops", "48")) == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "quantise.png", "sensitivity.json", "slim.png"
    ]  # fmt: skip
    assert not folder.with_name("out.run").exists()
    for name in ("quantise.png", "slim.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    return json.loads((folder / "sensitivity.json").read_text(encoding="utf-8"))


def test_every_layer_and_group_has_a_row_for_every_head(
    report: Any, lamps_checkpoint: Path, tmp_path: Path
) -> None:
    assert report["crops"] == 48
    assert set(report["baseline"]) == {"exact", "colour", "side"}
    rows = {kind: [r for r in report["rows"] if r["kind"] == kind] for kind in ("quantise", "slim")}
    assert all(set(row["accuracy"]) == set(report["baseline"]) for row in report["rows"])
    assert all(set(row["divergence"]) == {"colour", "side"} for row in report["rows"])
    # The names are those of the checkpoint's modules and of the graph's nodes.
    source = load_checkpoint(lamps_checkpoint)
    network = source.build()
    modules = dict(network.named_modules())
    write_graph(network, source.schema, source.input, tmp_path / "float.onnx")
    nodes = onnx.load(tmp_path / "float.onnx").graph.node
    layers = [node.name for node in nodes if node.op_type in ("Conv", "Gemm")]
    assert [row["layer"] for row in rows["quantise"]] == layers
    assert len(rows["slim"]) > 8
    assert {row["layer"] for row in rows["slim"]} <= set(layers) <= set(modules)


def test_taking_channels_costs_more_than_rounding(report: Any) -> None:
    def total(kind: str) -> list[float]:
        rows = [row for row in report["rows"] if row["kind"] == kind]
        return [sum(row["divergence"].values()) for row in rows]

    assert all(value >= 0 for value in total("quantise"))
    assert max(total("quantise")) > 0
    assert np.mean(total("slim")) > 10 * np.mean(total("quantise"))


def test_an_interrupted_run_goes_on(
    report: Any, lamps_checkpoint: Path, lamps: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    tried: list[str] = []

    def trials(bench: Any, _: float) -> Any:
        def trial(name: str) -> Logits:
            if len(tried) == 2:
                tried.append("stop")
                raise KeyboardInterrupt
            tried.append(name)
            logits: Logits = bench.reference
            return logits

        return {name: (lambda name=name: trial(name)) for name in ("a", "b", "c")}

    monkeypatch.setattr(compress.sensitivity.cli, "_TRIALS", {"slim": trials})
    options = arguments(lamps_checkpoint, lamps, tmp_path / "out", "--kinds", "slim")
    assert main(options) == 1
    assert not (tmp_path / "out").exists()
    assert main([*options, "--seed", "1"]) == 1
    assert "holds an unfinished run of other settings" in capsys.readouterr().err
    assert main(options) == 0
    assert tried == ["a", "b", "stop", "c"]
    found = json.loads((tmp_path / "out" / "sensitivity.json").read_text(encoding="utf-8"))
    assert [row["layer"] for row in found["rows"]] == ["a", "b", "c"]
    assert all(row["accuracy"] == found["baseline"] for row in found["rows"])


def test_a_broken_journal_is_named(
    lamps_checkpoint: Path, lamps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fail() -> Logits:
        raise KeyboardInterrupt

    monkeypatch.setattr(compress.sensitivity.cli, "_TRIALS", {"slim": lambda *_: {"a": fail}})
    options = arguments(lamps_checkpoint, lamps, tmp_path / "out", "--kinds", "slim")
    assert main(options) == 1
    with (tmp_path / "out.run" / "rows.jsonl").open("a") as journal:
        journal.write('{"kind": "sl')
    assert main(options) == 1
    assert "rows.jsonl cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong", [("--crops", "0"), ("--share", "1"), ("--share", "nan"), ("--kinds",)]
)
def test_settings_out_of_range(
    wrong: tuple[str, ...], lamps_checkpoint: Path, lamps: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert main(arguments(lamps_checkpoint, lamps, tmp_path / "out", *wrong)) == 1
    assert "need --crops >= 1, --share in (0, 1) and a kind" in capsys.readouterr().err
