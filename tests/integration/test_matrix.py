"""``python -m export.matrix`` through its command line, with real engines."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import export.onnx
import export.openvino
from benchmarks.labelled import read_labelled
from export.exporter import Exporter
from export.matrix import TENSORRT, main
from runtime.errors import EngineError
from train.checkpoint import load_checkpoint

RTX = find_spec("tensorrt_rtx") is not None

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _few_precisions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every export takes seconds; that OpenVINO exports in half precision is tested elsewhere."""
    fewer = replace(export.openvino.EXPORTER, precisions=("fp32", "int8"))
    monkeypatch.setattr(export.openvino, "EXPORTER", fewer)


def arguments(checkpoint: Path, lamps: Path, output: Path, *engines: str) -> list[str]:
    return [
        *(str(checkpoint), "--validation", str(lamps / "val"), "--data", str(lamps / "val")),
        *("--output", str(output), "--rounds", "5", "--engines", *engines),
    ]


def read(output: Path) -> dict[str, dict[str, Any]]:
    cells = json.loads((output / "matrix.json").read_text(encoding="utf-8"))["cells"]
    return {f"{cell['engine']} {cell['precision']}": cell for cell in cells}


def test_every_engine_and_precision_is_measured(
    lamps_checkpoint: Path, lamps: Path, tmp_path: Path
) -> None:
    output = tmp_path / "matrix"
    assert main(arguments(lamps_checkpoint, lamps, output, "onnx", "openvino")) == 0
    cells = read(output)
    assert {"torch fp32", "onnx fp32", "openvino fp32"} <= cells.keys()
    assert not [name for name in cells if name.endswith("int8")]  # the checkpoint decided none
    for cell in cells.values():
        assert cell["problem"] is None
        assert cell["samples"] == 96
        assert cell["exact"] == cells["torch fp32"]["exact"]
        assert (cell["flips"], cell["passes"]) == (0, True)
        assert cell["p50_ms"] > 0
    assert 0 < cells["onnx fp32"]["max_score_difference"] < 1e-3
    table = (output / "matrix.md").read_text(encoding="utf-8")
    assert table.count("openvino") >= 1
    artifacts = sorted(path.name for path in (tmp_path / "matrix.artifacts").iterdir())
    assert len(artifacts) == len(cells) - 1


def test_what_cannot_be_exported_is_told_and_the_rest_goes_on(
    lamps_checkpoint: Path, lamps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*_: object) -> dict[str, str]:
        raise EngineError("no kernel for Swirl\nand more")

    broken = Exporter(engine="onnx", engine_file="model.onnx", write=write, precisions=("fp32",))
    monkeypatch.setattr(export.onnx, "EXPORTER", broken)
    output = tmp_path / "matrix"
    assert main(arguments(lamps_checkpoint, lamps, output, "onnx", "openvino")) == 0
    cells = read(output)
    assert cells["onnx fp32"]["problem"] == "no kernel for Swirl"
    assert cells["onnx fp32"]["p50_ms"] is None
    assert cells["openvino fp32"]["problem"] is None
    assert "no artifact: no kernel for Swirl" in (output / "matrix.md").read_text(encoding="utf-8")


def test_artifacts_that_are_there_are_not_made_again(
    lamps_checkpoint: Path, lamps: Path, tmp_path: Path
) -> None:
    rows = read_labelled(lamps / "val", load_checkpoint(lamps_checkpoint).schema)
    lines = [f"{path}\t{text}\n" for path, text in zip(rows.paths, rows.texts, strict=True)]
    validation = tmp_path / "val.tsv"
    validation.write_text("".join(lines), encoding="utf-8")
    words = arguments(lamps_checkpoint, lamps, tmp_path / "matrix", "onnx")
    words[words.index("--validation") + 1] = str(validation)
    assert main(words) == 0
    (artifact,) = (tmp_path / "matrix.artifacts").glob("*onnx-fp32")
    made = (artifact / "artifact.json").stat().st_mtime_ns
    assert main([*words, "--overwrite"]) == 0
    assert (artifact / "artifact.json").stat().st_mtime_ns == made
    # One that was damaged since is made anew, as is one of another version.
    (artifact / "labels.txt").write_text("other labels", encoding="utf-8")
    assert main([*words, "--overwrite"]) == 0
    assert not (artifact / "labels.txt").exists()
    before = (artifact / "artifact.json").stat().st_mtime_ns
    assert before != made
    # Trained anew under the same name: its engine is another one.
    anew = tmp_path / lamps_checkpoint.name
    shutil.copytree(lamps_checkpoint, anew)
    value = json.loads((anew / "checkpoint.json").read_text(encoding="utf-8"))
    value["lineage"]["fit"]["config"]["loop"]["seed"] = 99
    (anew / "checkpoint.json").write_text(json.dumps(value), encoding="utf-8")
    assert main([str(anew), *words[1:], "--overwrite"]) == 0
    latest = (artifact / "artifact.json").stat().st_mtime_ns
    assert latest != before
    # Proven on fewer crops.
    validation.write_text("".join(lines[:60]), encoding="utf-8")
    assert main([str(anew), *words[1:], "--overwrite"]) == 0
    assert (artifact / "artifact.json").stat().st_mtime_ns != latest


def test_an_unknown_engine_is_refused(
    lamps_checkpoint: Path, lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(lamps_checkpoint, lamps, tmp_path / "out", "abacus")) == 1
    assert "engines among" in capsys.readouterr().err


def test_tensorrt_without_a_gpu_is_built_and_not_run(
    lamps_checkpoint: Path, lamps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.matrix.why_not_here", lambda config: "no GPU in this test")
    one = {engine: replace(each, precisions=("fp16",)) for engine, each in TENSORRT.items()}
    monkeypatch.setattr("export.matrix.TENSORRT", one)
    words = arguments(lamps_checkpoint, lamps, tmp_path / "matrix", "trt", "rtx")
    assert main(words) == 0
    cells = read(tmp_path / "matrix")
    assert cells.keys() == {"torch fp32", "trt fp16", "rtx fp16"}
    for name, cell in cells.items():
        if name == "torch fp32":
            continue
        assert (cell["problem"], cell["unproven"]) == (None, "no GPU in this test")
        assert (cell["samples"], cell["p50_ms"]) == (0, None)
        builds = name.startswith("rtx") and RTX
        assert (cell["engine_bytes"] > 0) == builds
    # A kit of an older version is made anew.
    (kit,) = (tmp_path / "matrix.artifacts").glob("*trt-fp16/kit.json")
    old = kit.read_text(encoding="utf-8").replace('"kit_version": 2', '"kit_version": 1')
    kit.write_text(old, encoding="utf-8")
    assert main([*words, "--overwrite"]) == 0
    assert kit.read_text(encoding="utf-8") != old
    assert read(tmp_path / "matrix")["trt fp16"]["problem"] is None
    table = (tmp_path / "matrix" / "matrix.md").read_text(encoding="utf-8")
    assert "a build kit: no GPU in this test" in table
    assert ("built, not run: no GPU in this test" in table) == RTX
