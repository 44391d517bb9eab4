"""Drafts of descriptions hold what the file tells, and run once a person has said the rest."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest
import tomllib

from benchmarks.foreign.cli import main
from benchmarks.foreign.description import read_description
from runtime.errors import ConfigError
from tests.artifacts import TinyNetwork
from tests.engines import require
from tests.foreign import ROW_SCHEMA, Shape, foreign_graph, write_foreign

NETWORK = TinyNetwork()


def drafted(folder: Path, shape: Shape, capsys: pytest.CaptureFixture[str]) -> str:
    """Draft a description as a person would, from the folder of the model."""
    require("onnxruntime")
    require("tyro")
    network = TinyNetwork(ROW_SCHEMA) if shape.rows else NETWORK
    write_foreign(folder, network, shape)
    assert main([str(folder / "tiny.onnx"), "--schema", str(folder / "schema.json")]) == 0
    printed = capsys.readouterr()
    assert "complete every TODO" in printed.err
    return printed.out


@pytest.mark.parametrize(
    "shape",
    [
        Shape(),
        Shape(layout="NHWC", dtype="uint8"),
        Shape(rows="KT", colour="GREY"),
        Shape(rows="TK"),
    ],
    ids=["torchvision", "pixels", "transposed rows", "rows"],
)
def test_a_draft_needs_only_what_no_file_tells(
    shape: Shape, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = drafted(tmp_path, shape, capsys)
    value = tomllib.loads(text)
    right = read_description(tmp_path / "tiny.json")
    assert value["input"]["layout"] == shape.layout
    assert value["input"]["dtype"] == shape.dtype
    assert (value["input"]["height"], value["input"]["width"]) == (16, 32)
    asked = set(re.findall(r"^(\w+) =.*TODO", text, re.MULTILINE))
    assert asked <= {"colour", "resize", "scores"}
    (tmp_path / "draft.toml").write_text(text, encoding="utf-8")
    found = read_description(tmp_path / "draft.toml")
    assert (found.outputs.rows, found.outputs.axes) == (right.outputs.rows, right.outputs.axes)
    if shape.rows is None:
        # Outputs have other names than the heads, so they are taken in order and asked about.
        assert "outputs in the order of the heads; are they?" in text
        assert set(found.outputs.heads.values()) == set(right.outputs.heads.values())


def test_a_finished_description_is_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require("onnxruntime")
    path = write_foreign(tmp_path, NETWORK)
    assert main([str(path)]) == 0
    assert "conversion: uint8 NHWC BGR to float32 NCHW RGB, (pixel * " in capsys.readouterr().out
    path.write_text(path.read_text(encoding="utf-8").replace("NCHW", "NHWC"), encoding="utf-8")
    assert main([str(path)]) == 1
    assert 'did you mean layout = "NCHW"' in capsys.readouterr().err


def test_outputs_that_fit_no_head_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require("onnxruntime")
    onnx.save_model(foreign_graph(TinyNetwork(ROW_SCHEMA), Shape(rows="TK")), tmp_path / "a.onnx")
    assert main([str(tmp_path / "a.onnx"), "--schema", "us-plate"]) == 0
    text = capsys.readouterr().out
    assert "which output is which head of schema 'us-plate'? char_1 (35)" in text
    (tmp_path / "a.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="outputs names no output"):
        read_description(tmp_path / "a.toml")


def test_what_is_missing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "a.onnx")]) == 1
    assert "--schema is needed: no model tells its labels" in capsys.readouterr().err
    assert main([str(tmp_path / "a.bin"), "--schema", "us-plate"]) == 1
    assert "pass --engine" in capsys.readouterr().err
