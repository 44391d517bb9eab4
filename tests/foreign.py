"""Bare models for tests: ``TinyNetwork`` behind inputs and outputs that are not Headlight's.

::

    network = TinyNetwork()
    shape = Shape(layout="NCHW", dtype="float32", colour="RGB", scores="probabilities")
    path = write_foreign(tmp_path, network, shape)  # tiny.onnx and tiny.json, which it returns
    network.logits(images)                          # what its answers must be
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from runtime.engine_imports import import_openvino
from runtime.schema import Head, HeadKind, Reading, Schema
from tests.artifacts import TinyNetwork

__all__ = [
    "ROW_SCHEMA",
    "Shape",
    "description_of",
    "foreign_graph",
    "write_description",
    "write_foreign",
]

ROW_SCHEMA: Final = Schema(
    name="rows",
    heads=tuple(
        Head(name=name, kind=HeadKind.CHOICE, labels=("_", "0", "1", "A"))
        for name in ("first", "second", "third")
    ),
    readings=(Reading(name="code", heads=("first", "second", "third"), blank="_"),),
)
"""Heads with equally many labels, as models with one output have them."""
SCALE, MEAN, STD = 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_TYPES: Final = {
    "uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a foreign graph looks like from outside."""

    layout: str = "NCHW"
    dtype: str = "float32"
    colour: str = "RGB"
    scores: str = "logits"
    rows: str | None = None
    """``TK``, ``KT`` or ``flat``: one output for all heads; else one each, in reverse order."""
    batch: int | None = None


def foreign_graph(network: TinyNetwork, shape: Shape) -> onnx.ModelProto:
    """Return a graph that undoes what its description says is done to pixels, then the network."""
    count = "batch" if shape.batch is None else shape.batch
    channels = 1 if shape.colour == "GREY" else 3
    height, width = network.spec.height, network.spec.width
    sides = (channels, height, width) if shape.layout == "NCHW" else (height, width, channels)
    nodes = [helper.make_node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT)]
    name = "float"
    if shape.layout == "NHWC":
        nodes.append(helper.make_node("Transpose", [name], ["nchw"], perm=[0, 3, 1, 2]))
        name = "nchw"
    arrays: dict[str, Any] = {
        "kernel": network.kernel,
        "weight": network.weight,
        "bias": network.bias,
        "half": np.asarray(0.5, np.float32),
        "order": np.asarray([0, 0, 0] if channels == 1 else [2, 1, 0], np.int64),
        "sizes": np.asarray([head.size for head in network.schema.heads], np.int64),
    }
    if shape.dtype == "uint8":
        arrays["std"], arrays["mean"] = np.asarray(1 / 255, np.float32), np.asarray(0, np.float32)
    else:
        cut = slice(0, channels)
        arrays["std"] = np.asarray(STD[cut], np.float32)[:, None, None]
        arrays["mean"] = np.asarray(MEAN[cut], np.float32)[:, None, None]
    nodes += [
        helper.make_node("Mul", [name, "std"], ["scaled"]),
        helper.make_node("Add", ["scaled", "mean"], ["share"]),
        helper.make_node("Sub", ["share", "half"], ["centred"]),
    ]
    name = "centred"
    if shape.colour != "BGR":
        nodes.append(helper.make_node("Gather", [name, "order"], ["bgr"], axis=1))
        name = "bgr"
    nodes += [
        helper.make_node("Conv", [name, "kernel"], ["maps"], strides=[8, 8]),
        helper.make_node("Relu", ["maps"], ["active"]),
        helper.make_node("Flatten", ["active"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["all"]),
    ]
    outputs = _outputs(network, shape, nodes, arrays, count)
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("pixels", _TYPES[shape.dtype], [count, *sides])],
        outputs,
        [numpy_helper.from_array(array, key) for key, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def _outputs(
    network: TinyNetwork, shape: Shape, nodes: list[Any], arrays: dict[str, Any], count: Any
) -> list[Any]:
    heads = network.schema.heads
    if shape.rows is not None:
        size = heads[0].size
        sides = {"TK": [len(heads), size], "KT": [size, len(heads)], "flat": [len(heads) * size]}
        arrays["table"] = np.asarray([-1, len(heads), size], np.int64)
        nodes.append(helper.make_node("Reshape", ["all", "table"], ["rows"]))
        name = "rows"
        if shape.scores == "probabilities":
            nodes.append(helper.make_node("Softmax", [name], ["shares"], axis=2))
            name = "shares"
        if shape.rows == "KT":
            nodes.append(helper.make_node("Transpose", [name], ["scores"], perm=[0, 2, 1]))
        else:
            arrays["shape"] = np.asarray([-1, *sides[shape.rows]], np.int64)
            nodes.append(helper.make_node("Reshape", [name, "shape"], ["scores"]))
        return [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [count, *sides[shape.rows]])
        ]
    nodes.append(
        helper.make_node("Split", ["all", "sizes"], [f"raw_{h.name}" for h in heads], axis=1)
    )
    for head in heads:
        kind = "Softmax" if head.kind is HeadKind.CHOICE else "Sigmoid"
        kind = kind if shape.scores == "probabilities" else "Identity"
        nodes.append(helper.make_node(kind, [f"raw_{head.name}"], [f"out_{head.name}"]))
    return [
        helper.make_tensor_value_info(f"out_{head.name}", TensorProto.FLOAT, [count, head.size])
        for head in reversed(heads)
    ]


def description_of(network: TinyNetwork, shape: Shape, engine: str, file: str) -> dict[str, Any]:
    """Return a description that is right."""
    channels = 1 if shape.colour == "GREY" else 3
    scaling: dict[str, Any] = {}
    if shape.dtype != "uint8":
        scaling = {"scale": SCALE, "mean": list(MEAN[:channels]), "std": list(STD[:channels])}
    outputs: dict[str, Any] = {"scores": shape.scores}
    if shape.rows is None:
        outputs["heads"] = {head.name: f"out_{head.name}" for head in network.schema.heads}
    else:
        outputs |= {"rows": "scores", "axes": "KT" if shape.rows == "KT" else "TK"}
    return {
        "format": 1,
        "engine": engine,
        "file": file,
        "schema": "schema.json",
        "input": {
            "name": "pixels",
            "layout": shape.layout,
            "dtype": shape.dtype,
            "colour": shape.colour,
            "height": network.spec.height,
            "width": network.spec.width,
            **scaling,
        },
        "outputs": outputs,
    }


def write_description(folder: Path, network: TinyNetwork, value: dict[str, Any]) -> Path:
    """Write a description and its schema."""
    (folder / "schema.json").write_text(json.dumps(network.schema.to_object()), encoding="utf-8")
    path = folder / "tiny.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def write_foreign(
    folder: Path, network: TinyNetwork, shape: Shape | None = None, *, engine: str = "onnx"
) -> Path:
    """Write a model, its description and its schema; return the description."""
    shape = shape or Shape()
    folder.mkdir(exist_ok=True)
    model = foreign_graph(network, shape)
    file = {"onnx": "tiny.onnx", "openvino": "tiny.xml"}[engine]
    if engine == "onnx":
        onnx.save_model(model, folder / file)
    else:
        openvino = import_openvino()
        converted = openvino.Core().read_model(model.SerializeToString())
        openvino.save_model(converted, folder / file, compress_to_fp16=False)
    return write_description(folder, network, description_of(network, shape, engine, file))
