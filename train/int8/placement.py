"""Where a graph is quantised: which layers, and where the steps of their inputs and weights stand.

One placement serves every engine, and TensorRT is the strictest of them: signed 8-bit values with
zero point 0, one step for a whole activation, one per output channel for a weight, float biases,
nothing between a layer and its ReLU, and of a residual addition only the shortcut quantised, so
that the convolution on the other side, the addition and the ReLU become one kernel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from train.node_names import LAYER_KINDS

__all__ = ["PASSING", "STEPS", "GraphWays", "Layer", "find_layers", "weighted_nodes"]

STEPS: Final = 127
"""Steps from zero to the end of a signed 8-bit range; -128 is left out for symmetry of weights."""
PASSING: Final = frozenset(
    {
        "MaxPool",
        "Reshape",
        "Flatten",
        "Transpose",
        "Squeeze",
        "Unsqueeze",
        "Identity",
        "Gather",
        "Slice",
    }
)
"""Operators whose outputs are values of their first input: rounding before or after is the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer that can run in INT8."""

    name: str
    """As in the checkpoint."""
    input: str
    """Tensor to quantise for it; ``PASSING`` operators may stand in between."""
    output: str
    """Its own output, behind a ReLU that fuses with it."""
    addition: str = ""
    """Residual addition (its node's name) that takes this layer's output unquantised."""
    shortcut: str = ""
    """Tensor to quantise for the other side of that addition."""

    @property
    def tensors(self) -> tuple[str, ...]:
        """The activations whose ranges must be known."""
        return tuple(name for name in (self.input, self.output, self.shortcut) if name)


class GraphWays:
    """A graph with the ways through it."""

    def __init__(self, model: Any) -> None:
        from onnx import numpy_helper

        self.graph = model.graph
        self.constants = {entry.name: entry for entry in model.graph.initializer}
        self.makers = {output: node for node in model.graph.node for output in node.output}
        self.readers = Counter(name for node in model.graph.node for name in node.input)
        self._to_array = numpy_helper.to_array

    def array(self, name: str) -> Any:
        """Return the constant called ``name`` as an array."""
        return self._to_array(self.constants[name])

    def root(self, tensor: str) -> str:
        """Return where a tensor's values come from."""
        maker = self.makers.get(tensor)
        while maker is not None and maker.op_type in PASSING:
            tensor = maker.input[0]
            maker = self.makers.get(tensor)
        return tensor


def find_layers(model: Any) -> list[Layer]:
    """Return the layers of a deployed float graph that may run in INT8, in the graph's order.

    Args:
        model: ``onnx.ModelProto`` whose layers are named (``train.node_names``).

    Layers on pooled maps of one place, as those of squeeze-and-excite, are left out: they are a
    thousandth of the work, and what they compute scales whole channels.
    """
    from onnx import shape_inference

    found = GraphWays(model)
    inferred = shape_inference.infer_shapes(model).graph
    ranks = {value.name: value.type.tensor_type.shape.dim for value in inferred.value_info}
    return [
        _describe(node, found)
        for node in weighted_nodes(model)
        if not _is_one_place(ranks.get(node.input[0], ()))
    ]


def weighted_nodes(model: Any) -> list[Any]:
    """Return the nodes of a graph that hold a layer's weight, in order."""
    constants = {entry.name for entry in model.graph.initializer}
    return [
        node
        for node in model.graph.node
        if node.op_type in LAYER_KINDS and node.input[1] in constants
    ]


def _is_one_place(sizes: Sequence[Any]) -> bool:
    """Whether a tensor is (N, C, 1, 1)."""
    return len(sizes) == 4 and all(size.dim_value == 1 for size in sizes[2:])


def _describe(node: Any, found: GraphWays) -> Layer:
    output = node.output[0]
    layer = Layer(name=node.name, input=found.root(node.input[0]), output=output)
    if found.readers[output] != 1:
        return layer
    reader = next(other for other in found.graph.node if output in other.input)
    if reader.op_type == "Relu":
        return replace(layer, output=reader.output[0])
    sides = list(reader.input)
    if node.op_type != "Conv" or reader.op_type != "Add" or set(sides) & set(found.constants):
        return layer
    other = sides[1 - sides.index(output)]
    maker = found.makers.get(other)
    # Of two convolutions the one that comes first in the sum goes through unquantised.
    twin = maker is not None and maker.op_type == "Conv" and found.readers[other] == 1
    if twin and sides.index(output) == 1:
        return layer
    return replace(layer, addition=reader.name, shortcut=found.root(other))
