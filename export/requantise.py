"""The same INT8 decisions in the form that x86 engines run fastest.

ONNX Runtime fuses a convolution, its ReLU and its quantiser only when what comes out is unsigned:
a ReLU before a *signed* quantiser stays a float operator and the convolution with it. On tensors
that cannot be negative the signed and the unsigned grid of the same scale hold the same values, so
the zero point's type is changed and nothing else; values above 127 steps, cut before, now fit.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from train.graph import replace_constants

__all__ = ["unsigned_after_relu"]

_NON_NEGATIVE: Final = frozenset({"Relu", "Sigmoid"})
_KEEPS_SIGN: Final = frozenset(
    {
        "MaxPool",
        "AveragePool",
        "GlobalAveragePool",
        "ReduceMean",
        "Reshape",
        "Flatten",
        "Transpose",
        "Identity",
        "QuantizeLinear",
        "DequantizeLinear",
    }
)


def unsigned_after_relu(model: Any) -> int:
    """Make quantisers of non-negative tensors unsigned, in place; return how many changed.

    Args:
        model: ``onnx.ModelProto`` with symmetric signed Q/DQ nodes in topological order.
    """
    from onnx import numpy_helper

    graph = model.graph
    values = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    positive: set[str] = set()
    added: dict[str, Any] = {}
    changed = 0
    for node in graph.node:
        source = node.input[0] if node.input else ""
        if node.op_type in _NON_NEGATIVE or (node.op_type in _KEEPS_SIGN and source in positive):
            positive.update(node.output)
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or source not in positive:
            continue
        zero = values.get(node.input[2]) if len(node.input) > 2 else None
        if zero is not None and zero.dtype == np.int8 and not zero.any():
            name = f"{node.input[2]}_unsigned"
            added[name] = numpy_helper.from_array(np.zeros(zero.shape, np.uint8), name)
            node.input[2] = name
            changed += 1
    replace_constants(model, added)
    return changed
