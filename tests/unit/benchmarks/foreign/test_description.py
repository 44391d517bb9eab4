"""A description says everything once, and nothing that is not known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.foreign.description import find_description, read_description
from runtime.errors import ConfigError
from tests.artifacts import TinyNetwork
from tests.foreign import ROW_SCHEMA, Shape, description_of, write_description

NETWORK = TinyNetwork()
Value = dict[str, Any]


def written(folder: Path, change: Callable[[Value], object] | None = None) -> Path:
    value = description_of(NETWORK, Shape(), "onnx", "tiny.onnx")
    if change is not None:
        change(value)
    return write_description(folder, NETWORK, value)


def test_paths_are_beside_the_description_and_toml_says_the_same(tmp_path: Path) -> None:
    found = read_description(written(tmp_path))
    assert found.model == tmp_path / "tiny.onnx"
    assert found.schema == NETWORK.schema
    assert found.input.shape == (3, 16, 32)
    toml = tmp_path / "same.toml"
    toml.write_text(
        'format = 1\nengine = "onnx"\nfile = "tiny.onnx"\nschema = "schema.json"\n'
        '[input]\nname = "pixels"\nlayout = "NCHW"\ndtype = "float32"\ncolour = "RGB"\n'
        f"height = 16\nwidth = 32\nscale = {found.input.scale!r}\n"
        "mean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]\n"
        '[outputs]\nscores = "logits"\n[outputs.heads]\n'
        + "".join(f'{head.name} = "out_{head.name}"\n' for head in NETWORK.schema.heads),
        encoding="utf-8",
    )
    again = read_description(toml)
    assert (again.input, again.outputs) == (found.input, found.outputs)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda v: v.update(format=2), "format must be 1"),
        (lambda v: v.update(engine="caffe"), "engine 'caffe' is unknown; use one of onnx, openvin"),
        (lambda v: v.update(labels=[]), "unknown keys ['labels']"),
        (lambda v: v.pop("file"), "key 'file' is missing"),
        (lambda v: v.update(schema="cnplate"), "'cnplate' is neither built in (cn-plate, "),
        (lambda v: v["input"].update(layout="CHW"), "layout 'CHW' is unknown; use one of NHWC"),
        (lambda v: v["input"].update(colour="HSV"), "use one of BGR, RGB, GREY"),
        (lambda v: v["input"].update(width=4), "input size must be at least 8x8"),
        (lambda v: v["outputs"].update(scores="softmax"), "use one of logits, log-prob"),
        (lambda v: v["outputs"].pop("heads"), "outputs names no output"),
        (lambda v: v["outputs"].update(rows=1.5), "outputs.rows must be an output's name or ind"),
        (lambda v: v["outputs"].update(rows="x"), "every head has an output of its own"),
        (lambda v: v["outputs"]["heads"].pop("first"), "no output is given for the heads ['first"),
        (lambda v: v["outputs"]["heads"].update(last="x"), "the heads ['last'], but schema 'sm"),
    ],
)  # fmt: skip
def test_each_mistake_is_told_with_the_file(
    change: Callable[[Value], object], told: str, tmp_path: Path
) -> None:
    path = written(tmp_path, change)
    with pytest.raises(ConfigError) as caught:
        read_description(path)
    assert str(caught.value).startswith(str(path))
    assert told in str(caught.value)


def test_neither_toml_nor_json(tmp_path: Path) -> None:
    for name in ("a.toml", "a.json"):
        (tmp_path / name).write_text("{", encoding="utf-8")
        with pytest.raises(ConfigError, match=name):
            read_description(tmp_path / name)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_description(tmp_path / "absent.toml")


def test_rows_serve_the_heads_that_have_no_output_of_their_own(tmp_path: Path) -> None:
    value = description_of(TinyNetwork(ROW_SCHEMA), Shape(rows="TK"), "onnx", "tiny.onnx")
    value["outputs"]["heads"] = {"third": 0}
    value["outputs"]["rows"] = 1
    found = read_description(write_description(tmp_path, TinyNetwork(ROW_SCHEMA), value))
    assert found.outputs.heads == {"third": 0}
    assert found.outputs.rows == 1


def test_a_folder_is_no_description(tmp_path: Path) -> None:
    assert find_description(tmp_path) is None
    assert find_description(tmp_path / "absent") is None
