"""Slimming to milliseconds in real engines, through the command lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import benchmarks.scenarios.warming
import compress.layer_costs.cli
import compress.layer_costs.engine_timing
import compress.layer_costs.latency
import compress.layer_costs.timing
import compress.slim.cli
import compress.slim.comparison
import compress.slim.latency_goal
from benchmarks.noise import Noise
from benchmarks.scenarios import Comparison, compare_interleaved
from tests.engines import require
from tests.slimming import tiny_config, tiny_network, write_checkpoint, write_lamps
from train.checkpoint import load_checkpoint
from train.cost import count_parameters
from train.network import Network


def by_weights(_: str, networks: Mapping[str, Network], *__: object, **___: object) -> Comparison:
    """As if every million weights took a second: exporting each network would take longer."""
    ms = {name: np.full(5, count_parameters(each) / 1000) for name, each in networks.items()}
    return Comparison(ms, Noise(0.0))


def quick(queries: dict[str, benchmarks.scenarios.Query], **_: object) -> object:
    return compare_interleaved(queries, rounds=5, block_s=0.001)


@pytest.fixture(scope="module")
def fast() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        # The final measurement, compress.slim's own, stays real.
        for module in (compress.layer_costs.latency, compress.slim.latency_goal):
            patch.setattr(module, "time_networks", by_weights)
        for module in (
            compress.slim.comparison,
            compress.layer_costs.engine_timing,
            compress.layer_costs.timing,
        ):
            patch.setattr(module, "compare_interleaved", quick)
        brief = partial(benchmarks.scenarios.warm_up, min_s=0.01, max_s=0.02)
        patch.setattr(benchmarks.scenarios.warming, "warm_up", lambda query, **_: brief(query))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def place(fast: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    require("onnxruntime")
    folder = tmp_path_factory.mktemp("latency")
    write_checkpoint(folder / "base", tiny_network(), tiny_config())
    write_lamps(folder / "train", 48, seed=0)
    write_lamps(folder / "val", 24, seed=1)
    output = folder / "new" / "costs.json"
    words = [str(folder / "base"), "--engine", "onnxruntime", "-o", str(output)]
    assert compress.layer_costs.cli.main(words) == 0
    output.replace(folder / "costs.json")
    return folder


def slim(place: Path, output: Path, *more: str) -> int:
    return compress.slim.cli.main(
        [
            *(str(place / "base"), "--data", str(place / "train")),
            *("--validation", str(place / "val"), "--output", str(output), "--threads", "1"),
            *("--batch", "16", "--sparse-steps", "0", "--tune-steps", "0", *more),
        ]
    )


def test_costs_hold_every_layer_and_a_fit(place: Path) -> None:
    value = json.loads((place / "costs.json").read_text(encoding="utf-8"))
    assert value["engine"] == "onnxruntime"
    assert value["fit"]["checkpoint"] == load_checkpoint(place / "base").digest
    assert value["fit"]["measured_ms"] > 0
    assert {layer["shape"]["kind"] for layer in value["layers"]} == {"conv", "linear"}
    words = [str(place / "base"), "--engine", "onnxruntime", "-o", str(place / "costs.json")]
    assert compress.layer_costs.cli.main(words) == 1


@pytest.mark.parametrize(("name", "why"), [("costs.json/x", "Errno"), ("folder", "exists; give")])
def test_costs_that_cannot_be_written_are_not_measured(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    why: str,
) -> None:
    monkeypatch.setattr(compress.layer_costs.cli, "measure_costs", lambda *_, **__: 1 / 0)
    (place / "folder").mkdir(exist_ok=True)
    words = [str(place / "base"), "--engine", "onnxruntime", "-o", str(place / name)]
    assert compress.layer_costs.cli.main([*words, "--overwrite"]) == 1
    assert why in capsys.readouterr().err


def test_slimming_by_costs_measures_and_judges(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    costs = ("--costs", str(place / "costs.json"), "--speedup", "1.1")
    grain = ("--round-to", "2", "--min-channels", "2")
    assert slim(place, tmp_path / "out", *costs, *grain) == 0
    out = load_checkpoint(tmp_path / "out")
    found = out.metrics["slim"]
    assert found["engine"]["name"] == "onnxruntime"
    assert found["predicted"]["after_ms"] < found["predicted"]["before_ms"]
    assert count_parameters(out.build()) < count_parameters(load_checkpoint(place / "base").build())
    printed = capsys.readouterr().out
    assert "latency, onnxruntime FP32" in printed
    assert found["verdict"] in printed
    assert "worth it" in printed
    assert not (tmp_path / "out.run").exists()


def test_costs_of_another_device_judge_and_the_engine_here_is_measured_too(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value = json.loads((place / "costs.json").read_text(encoding="utf-8"))
    value |= {"engine": "tensorrt", "environment": {"device": {"cpu": "a board"}}}
    (tmp_path / "costs.json").write_text(json.dumps(value), encoding="utf-8")
    costs = ("--costs", str(tmp_path / "costs.json"), "--speedup", "1.5")
    grain = ("--round-to", "2", "--min-channels", "2")
    assert slim(place, tmp_path / "out", *costs, *grain, "--engine", "onnxruntime") == 0
    found = load_checkpoint(tmp_path / "out").metrics["slim"]
    assert found["engine"]["name"] == "onnxruntime"
    assert " latency foreseen in tensorrt on a board: worth it" in found["verdict"]
    assert "latency, onnxruntime FP32" in capsys.readouterr().out


def test_a_latency_out_of_reach_says_what_can_be_reached(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    costs = ("--costs", str(place / "costs.json"))
    assert slim(place, tmp_path / "out", *costs, "--latency-ms", "0.000001") == 1
    assert "of the latency cannot be removed" in capsys.readouterr().err
    assert slim(place, tmp_path / "out", *costs, "--latency-ms", "1000") == 1
    assert "--latency-ms 1000 asks for nothing" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_rounds_and_local_selection_end_at_the_target(place: Path, tmp_path: Path) -> None:
    more = ("--rounds", "2", "--tune-steps", "4", "--validate-every", "2", "--target", "0.6")
    assert slim(place, tmp_path / "out", *more, "--selection", "local", "--round-to", "2") == 0
    out = load_checkpoint(tmp_path / "out")
    whole = count_parameters(load_checkpoint(place / "base").build())
    assert 0.3 * whole <= count_parameters(out.build()) <= 0.4 * whole
    assert len(out.metrics["slim"]["rounds"]) == 2
    assert [row["step"] for row in out.metrics["history"]] == [2, 4]
    shares = [1 - left / width for width, left in out.metrics["slim"]["widths"].values()]
    assert max(shares) - min(shares) < 0.15
