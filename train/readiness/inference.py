"""Which types the tensors inside a graph have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from runtime.errors import DataError

__all__ = ["infer_types"]


def infer_types(model: Any, nodes: Iterable[Any]) -> Any:
    """Return a ``GraphProto`` of the same nodes that tells the types of what they put out.

    Weights are no part of it: types do not depend on them, and onnx infers through a serialised
    copy, which is limited to 2 GB.

    Args:
        model: ``onnx.ModelProto`` without functions of its own.
        nodes: Its nodes, those in the bodies of control flow included.

    Raises:
        DataError: the nodes contradict each other.
    """
    from google.protobuf.message import EncodeError  # type: ignore[import-untyped]
    from onnx import shape_inference

    try:
        return shape_inference.infer_shapes(_without_weights(model, nodes)).graph
    # Names that are no text end in a ValueError.
    except (shape_inference.InferenceError, EncodeError, ValueError) as error:
        raise DataError(f"the types of the graph's tensors cannot be inferred: {error}") from error


def _without_weights(model: Any, nodes: Iterable[Any]) -> Any:
    """Return the model with inputs in place of weights.

    And without its outputs: what a file says of their types need not be true.
    """
    from onnx import ModelProto, helper

    bare = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    known = {entry.domain for entry in model.opset_import}
    # Some exporters leave out the domains of plugins.
    for domain in {node.domain for node in nodes} - known:
        bare.opset_import.append(helper.make_opsetid(domain, 1))
    graph = model.graph
    bare.graph.name = graph.name
    bare.graph.node.extend(graph.node)
    bare.graph.input.extend(graph.input)
    given = {value.name for value in graph.input}
    stored = [*graph.initializer, *(tensor.values for tensor in graph.sparse_initializer)]
    bare.graph.input.extend(
        helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in stored
        if tensor.name not in given
    )
    return bare
