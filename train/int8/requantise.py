"""The same INT8 decisions in the form that an x86 engine runs fastest.

ONNX Runtime fuses a convolution, its ReLU and its quantiser, and nothing less: a convolution whose
output stays in float, as before a residual addition, is computed in float, and so is one whose ReLU
stands before a *signed* quantiser. Hence two changes. On tensors that cannot be negative the signed
and the unsigned grid of the same step hold the same values, so the zero point's type is changed and
nothing else; values above 127 steps, cut before, now fit. And an output that the decisions leave in
float is quantised as well, by the step that was measured and noted for this.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from train.graph import replace_constants

__all__ = ["OUTPUT_STEP", "adapt_to", "quantise_outputs", "quantiser_pair", "unsigned_after_relu"]

OUTPUT_STEP: Final = "headlight.output_step"
"""Note on a node that puts out what a quantised layer computed and the decisions leave in float:
the step of its range."""
_NON_NEGATIVE: Final = frozenset({"Relu", "Sigmoid", "HardSigmoid", "Softmax"})
_KEEPS_SIGN: Final = frozenset(
    {
        "MaxPool",
        "AveragePool",
        "GlobalAveragePool",
        "ReduceMean",
        "Reshape",
        "Flatten",
        "Transpose",
        "Gather",
        "Slice",
        "Squeeze",
        "Unsqueeze",
        "Identity",
        "QuantizeLinear",
        "DequantizeLinear",
    }
)


def adapt_to(engine: str, model: Any) -> None:
    """Bring a graph with INT8 decisions into the form that ``engine`` runs fastest, in place.

    Args:
        engine: ``onnxruntime`` or ``openvino``.
        model: ``onnx.ModelProto``; one without quantisers stays as it is.
    """
    if engine == "onnxruntime":
        quantise_outputs(model)
    unsigned_after_relu(model)


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


def quantise_outputs(model: Any) -> int:
    """Quantise the outputs that carry an ``OUTPUT_STEP`` note, in place; return how many did.

    Args:
        model: ``onnx.ModelProto`` with symmetric signed Q/DQ nodes.
    """
    graph = model.graph
    nodes, made, renamed = list[Any](), dict[str, Any](), dict[str, str]()
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
        nodes.append(node)
        steps = [float(note.value) for note in node.metadata_props if note.key == OUTPUT_STEP]
        if steps:
            del node.metadata_props[:]  # done; once is enough
            pair, constants = quantiser_pair(node.output[0], steps[0])
            nodes += pair
            made |= constants
            renamed[node.output[0]] = pair[-1].output[0]
    del graph.node[:]
    graph.node.extend(nodes)
    replace_constants(model, made)
    return len(renamed)


def quantiser_pair(tensor: str, step: float) -> tuple[list[Any], dict[str, Any]]:
    """Return the nodes that round an activation to a signed 8-bit grid, and their constants.

    The last node's output, ``tensor``/dq, is the rounded activation.
    """
    from onnx import helper, numpy_helper

    values: dict[str, npt.NDArray[Any]] = {
        f"{tensor}/step": np.array(step, np.float32),
        f"{tensor}/zero": np.zeros((), np.int8),
    }
    rounded, back = f"{tensor}/q", f"{tensor}/dq"
    pair = [
        helper.make_node(kind, [source, *values], [output], name=f"{tensor}/{kind}")
        for kind, source, output in (
            ("QuantizeLinear", tensor, rounded),
            ("DequantizeLinear", rounded, back),
        )
    ]
    return pair, {name: numpy_helper.from_array(value, name) for name, value in values.items()}
