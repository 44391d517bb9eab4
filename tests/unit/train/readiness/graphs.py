"""Small graphs to break one rule of readiness at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Arrays = Mapping[str, Any]


def model(
    nodes: Sequence[onnx.NodeProto],
    constants: Arrays | None = None,
    *,
    inputs: Mapping[str, tuple[int, Sequence[Any]]] | None = None,
    outputs: Sequence[str] = ("y",),
    opset: int = 17,
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    given = {"x": (TensorProto.FLOAT, ["n", 4, 8, 8])} if inputs is None else inputs
    graph = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info(name, *kind) for name, kind in given.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    """``node("Conv", "x w", "y")``; named after its output."""
    return helper.make_node(kind, inputs.split(), [output], name=f"{output}-node", **attributes)


KERNEL = np.linspace(-1, 1, 4 * 4 * 9, dtype=np.float32).reshape(4, 4, 3, 3)


def constants(**changes: Any) -> dict[str, Any]:
    """Of ``quantised``: scale ``s`` and zero point ``z`` of activations, ``ws`` of weights."""
    return {
        "s": np.float32(0.05),
        "z": np.int8(0),
        "ws": np.full(4, 0.01, np.float32),
        "wz": np.zeros(4, np.int8),
        "w": np.clip(np.rint(KERNEL * 100), -127, 127).astype(np.int8),
        "b": np.zeros(4, np.float32),
        **changes,
    }


def pair(source: str, name: str, scale: str = "s", zero: str = "z", **attributes: Any) -> list[Any]:
    """A QuantizeLinear and a DequantizeLinear; the latter puts out ``name``."""
    return [
        node("QuantizeLinear", f"{source} {scale} {zero}".strip(), f"{name}_q", **attributes),
        node("DequantizeLinear", f"{name}_q {scale} {zero}".strip(), name, **attributes),
    ]


def weight(name: str = "wd", source: str = "w", axis: int = 0) -> onnx.NodeProto:
    return node("DequantizeLinear", f"{source} ws wz", name, axis=axis)


def quantised(**changes: Any) -> onnx.ModelProto:
    """A convolution with a ReLU, quantised as TensorRT wants it; ``changes`` are constants."""
    layers = [weight(), node("Conv", "d wd b", "c", pads=[1, 1, 1, 1]), node("Relu", "c", "y")]
    return model([*pair("x", "d"), *layers], constants(**changes))
