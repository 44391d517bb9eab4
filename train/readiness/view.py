"""A graph with the ways through it, seen through what exporters put in between."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from runtime.errors import DataError

from .inference import infer_types
from .scopes import FlatGraph
from .sound import is_standard, require_sound

__all__ = ["DEQUANTISE", "LAYERS", "PASSING", "QUANTISE", "GraphView", "attribute", "type_name"]

QUANTISE: Final = "QuantizeLinear"
DEQUANTISE: Final = "DequantizeLinear"
LAYERS: Final = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators with a weight as their second input."""
PASSING: Final = frozenset(
    {
        "Flatten",
        "Gather",
        "Identity",
        "MaxPool",
        "Reshape",
        "Slice",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
"""Operators whose outputs are values of their first input."""
_VALUES: Final = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}
"""Attribute in which a Constant may give its numbers, to their type."""


def attribute(node: Any, name: str, default: Any) -> Any:
    """Return an attribute's value, or ``default`` where it is not given."""
    from onnx import helper

    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


class GraphView:
    """A graph, the bodies of its control flow included.

    Args:
        model: ``onnx.ModelProto``; functions of its own are looked into.

    Raises:
        DataError: the graph has a cycle, two tensors of one name, or a node that is none of its
            operator.
    """

    def __init__(self, model: Any) -> None:
        model = _inlined(model) if model.functions else model
        self.inputs = list(model.graph.input)
        self.opset = max(
            (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
            default=1,
        )
        flat = FlatGraph(model.graph)
        self.nodes = [node for node in flat.nodes if is_standard(node)]
        self.plugins = [node for node in flat.nodes if not is_standard(node)]
        for node in self.nodes:
            require_sound(node, self.opset)
        self.outputs = flat.outputs
        self._tensors = flat.tensors
        self._arrays: dict[str, npt.NDArray[Any]] = {}
        self.makers = {output: node for node in self.nodes for output in node.output if output}
        self.readers: dict[str, list[tuple[Any, int]]] = defaultdict(list)
        for node in flat.nodes:
            for place, name in enumerate(node.input):
                self.readers[name].append((node, place))
        for node in self.nodes:
            if (
                node.op_type == "Constant"
                and node.output[0]
                and (tensor := _constant(node)) is not None
            ):
                self._tensors[node.output[0]] = tensor
        self.types = {name: tensor.data_type for name, tensor in self._tensors.items()}
        """Tensor to the type of its elements, where that is known."""
        self.types |= {value.name: value.type.tensor_type.elem_type for value in self.inputs}
        # The same nodes get the same names.
        self.types |= FlatGraph(infer_types(model, flat.nodes)).types
        self.quantised = any(node.op_type == DEQUANTISE for node in self.nodes)

    def source(self, tensor: str) -> str:
        """Return where a tensor comes from, past Identity: exporters share constants by it."""
        while (maker := self.makers.get(tensor)) is not None and maker.op_type == "Identity":
            tensor = maker.input[0]
        return tensor

    def root(self, tensor: str) -> str:
        """Return where a tensor's values come from, past all ``PASSING`` operators."""
        while (maker := self.makers.get(tensor)) is not None and maker.op_type in PASSING:
            tensor = maker.input[0]
        return tensor

    def maker_of(self, tensor: str, kind: str) -> Any:
        """Return the node of operator ``kind`` that makes a tensor, or None."""
        maker = self.makers.get(self.source(tensor))
        return maker if maker is not None and maker.op_type == kind else None

    def tensor(self, name: str) -> Any:
        """Return the constant ``TensorProto`` behind a tensor, or None."""
        return self._tensors.get(self.source(name))

    def array(self, name: str) -> npt.NDArray[Any] | None:
        """Return the constant behind a tensor as an array of numbers, or None.

        Raises:
            DataError: what is stored is something else.
        """
        # Not by the name that a stored tensor bears: in Constant nodes it means nothing.
        source = self.source(name)
        if source not in self._tensors:
            return None
        if source not in self._arrays:
            self._arrays[source] = _numbers(self._tensors[source], source)
        return self._arrays[source]

    def weight(self, tensor: str) -> Any:
        """Return the constant that a DequantizeLinear's or QuantizeLinear's input is, or None.

        A weight is stored as int8, or as float in front of a QuantizeLinear.
        """
        found = self.tensor(tensor)
        if found is not None:
            return found
        quantiser = self.maker_of(tensor, QUANTISE)
        return None if quantiser is None else self.tensor(quantiser.input[0])

    def readers_behind(
        self, tensor: str, *, rank: int = 0, axis: int | None = None
    ) -> Iterator[tuple[Any, int, int | None]]:
        """Yield who reads a tensor's values, past all ``PASSING`` operators.

        Args:
            tensor: Its name.
            rank: Of the tensor, where ``axis`` is given.
            axis: An axis of the tensor.

        Yields:
            The node, the place among its inputs, and which axis ``axis`` has become; None behind
            operators other than Identity and Transpose.
        """
        waiting = [(tensor, axis)]
        while waiting:
            name, moved = waiting.pop()
            for reader, place in self.readers[name]:
                if reader.op_type in PASSING and is_standard(reader) and place == 0:
                    waiting.append((reader.output[0], _moved(reader, rank, moved)))
                else:
                    yield reader, place, moved


def _moved(node: Any, rank: int, axis: int | None) -> int | None:
    """Return where a passing operator puts an axis; None where its attributes do not say."""
    if axis is None or node.op_type == "Identity":
        return axis
    if node.op_type != "Transpose":
        return None
    order = attribute(node, "perm", [*reversed(range(rank))])
    return order.index(axis) if axis in order else None


def type_name(kind: int) -> str:
    """Return what ONNX calls a type of elements."""
    from onnx import TensorProto

    known = kind in TensorProto.DataType.values()
    return str(TensorProto.DataType.Name(kind)) if known else f"type {kind}"


def _inlined(model: Any) -> Any:
    from onnx import checker, inliner

    try:
        return inliner.inline_local_functions(model)
    except checker.ValidationError as error:
        raise DataError(f"functions of the graph cannot be inlined: {error}") from error


def _numbers(tensor: Any, name: str) -> npt.NDArray[Any]:
    from onnx import checker, numpy_helper

    try:
        array = np.asarray(numpy_helper.to_array(tensor))
    # What it raises on an unknown type, on data of another size than the dimensions say, and on
    # data in a file that is not there.
    except (KeyError, TypeError, ValueError, OSError, checker.ValidationError) as error:
        kind = type_name(tensor.data_type)
        raise DataError(f"tensor {name} ({kind}) cannot be read: {error}") from error
    if array.dtype.kind in "OSUc":
        raise DataError(f"tensor {name} is {type_name(tensor.data_type)}, expected real numbers")
    return array


def _constant(node: Any) -> Any:
    """Return what a Constant holds as a ``TensorProto``; None where that is no numbers."""
    from onnx import numpy_helper

    for name, kind in _VALUES.items():
        if (value := attribute(node, name, None)) is not None:
            return numpy_helper.from_array(np.asarray(value, kind))
    return attribute(node, "value", None)
