"""The command that checks anybody's ONNX graph for TensorRT."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from export.readiness.cli import main
from tests.unit.train.readiness.graphs import model, node, quantised
from tests.unit.train.readiness.test_rules import residual


@pytest.fixture
def write(tmp_path: Path):
    def write(model: onnx.ModelProto) -> str:
        onnx.save(model, tmp_path / "model.onnx")
        return str(tmp_path / "model.onnx")

    return write


def test_a_broken_graph_names_rule_node_and_what_to_do(
    write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(quantised(z=np.uint8(0)))
    assert main([path, "--output", str(tmp_path / "report.json")]) == 1
    first, _, last = capsys.readouterr().out.splitlines()
    assert first.startswith("R03 d_q-node: UINT8, which TensorRT reads as INT8; quantise to sign")
    assert last == f"{path}: not ready: 2 rules broken for TensorRT 10.3, 0 warnings"
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert (report["ready"], report["target"]) == (False, "10.3")
    assert report["findings"][0] == {
        "rule": "R03",
        "level": "error",
        "node": "d_q-node",
        "what": "UINT8, which TensorRT reads as INT8",
        "advice": "quantise to signed INT8; a UINT8 grid with zero point 0 becomes one by scale "
        "* 255 / 127",
    }


def test_warnings_alone_are_ready(write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(residual(both=True))
    assert main([path, "--target", "11.4"]) == 0
    found = capsys.readouterr().out.splitlines()
    assert found[0].startswith("W02 y-node: ")
    assert found[1:] == [f"{path}: ready for TensorRT 11.4, 1 warnings"]


def test_external_weights_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(
        quantised(), path, save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    assert main([str(path)]) == 0
    (tmp_path / "weights.bin").unlink()
    assert main([str(path)]) == 1
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, b"", b"no graph at all"])
def test_what_is_no_graph_is_refused(
    tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "model.onnx").write_bytes(content)
    assert main([str(tmp_path / "model.onnx")]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"error: {tmp_path / 'model.onnx'} ")
    assert "cannot be read" in told or "holds no ONNX graph" in told


@pytest.mark.parametrize("place", ["none/report.json", "."])
def test_a_report_needs_a_place(
    write, tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([write(quantised()), "--output", str(tmp_path / place)]) == 1
    assert "name a file in a folder that exists" in capsys.readouterr().err


def test_an_unknown_target_is_wrong_usage(write) -> None:
    assert main([write(quantised()), "--target", "7.0"]) == 2


def test_a_graph_that_is_none_is_an_error_with_the_file(
    write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(model([node("Identity", "b", "a"), node("Identity", "a", "b")]))
    assert main([path]) == 1
    told = capsys.readouterr()
    assert told.err.startswith(f"error: {path} is no valid ONNX graph: a-node reads b, which noth")
    assert told.out == ""
