"""Writing INT8 decisions into a graph, as pairs of QuantizeLinear and DequantizeLinear (Q/DQ).

Engines read a pair as "what follows may run in INT8", and the graph computes the same rounding on
one that does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import EngineError
from train.graph import replace_constants
from train.int8.requantise import OUTPUT_STEP, quantiser_pair

from .placement import PASSING, STEPS, GraphWays, Layer

__all__ = ["place", "weight_steps"]

Array = npt.NDArray[np.float32]


def weight_steps(weight: Array, axis: int) -> Array:
    """Return the step of every output channel, (K,): the largest weight lies at the range's end.

    Args:
        weight: Of a layer.
        axis: Of its output channels.
    """
    others = tuple(i for i in range(weight.ndim) if i != axis)
    largest = np.abs(weight).max(axis=others).astype(np.float32)
    # A channel of zeros has no range; any step holds it.
    return np.where(largest > 0, largest / np.float32(STEPS), np.float32(1)).astype(np.float32)


def place(model: Any, layers: Sequence[Layer], steps: Mapping[str, float]) -> Any:
    """Return a copy of a float graph in which ``layers`` read quantised inputs and weights.

    Args:
        model: ``onnx.ModelProto`` that ``layers`` were found in; it stays as it is.
        layers: The ones to run in INT8.
        steps: Tensor name to the step of its range, for all ``Layer.tensors``.

    Raises:
        EngineError: a step is missing, not finite or not positive.
    """
    copy = deepcopy(model)
    wanted = {name for layer in layers for name in layer.tensors}
    wrong = sorted(name for name in wanted if not 0 < steps.get(name, 0) < float("inf"))
    if wrong:
        raise EngineError(f"no usable range for the activations {wrong}; calibrate again")
    writer = _Writer(copy, steps)
    by_name = {node.name: node for node in copy.graph.node}
    for layer in layers:
        node = by_name[layer.name]
        node.input[0] = writer.quantised(node.input[0])
        writer.quantise_weight(node)
        if layer.addition:
            addition = by_name[layer.addition]
            side = 1 - list(addition.input).index(layer.output)
            addition.input[side] = writer.quantised(addition.input[side])
    makers = {output: node for node in copy.graph.node for output in node.output}
    for layer in layers:
        # Only convolutions: what linear layers put out are logits, which stay as they are.
        if layer.output not in writer.done and by_name[layer.name].op_type == "Conv":
            note = repr(float(steps[layer.output]))
            makers[layer.output].metadata_props.add(key=OUTPUT_STEP, value=note)
    writer.finish()
    return copy


class _Writer:
    """Adds quantisers to a graph."""

    def __init__(self, model: Any, steps: Mapping[str, float]) -> None:
        self.model, self.steps = model, steps
        self.found = GraphWays(model)
        self.added: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.done: dict[str, str] = {}

    def quantised(self, tensor: str) -> str:
        """Return the name of ``tensor``'s quantised form, which is made where it is new."""
        if tensor in self.done:
            return self.done[tensor]
        maker = self.found.makers.get(tensor)
        if maker is not None and maker.op_type in PASSING:
            self.done[tensor] = self._pass_on(maker, tensor)
        else:
            pair, constants = quantiser_pair(tensor, self.steps[tensor])
            self.added += pair
            self.constants |= constants
            self.done[tensor] = str(pair[-1].output[0])
        return self.done[tensor]

    def _pass_on(self, maker: Any, tensor: str) -> str:
        """Repeat an operator behind the quantised form of what it reads."""
        twin = deepcopy(maker)
        twin.name, twin.output[0] = f"{maker.name}/int8", f"{tensor}/int8"
        twin.input[0] = self.quantised(maker.input[0])
        self.added.append(twin)
        return str(twin.output[0])

    def quantise_weight(self, node: Any) -> None:
        """Store a layer's weight as int8 with one step per output channel."""
        from onnx import helper

        label = str(node.input[1])
        node.input[1] = f"{label}/dq"
        if f"{label}/int8" in self.constants:  # two layers may share a weight
            return
        weight: Array = self.found.array(label)
        axis = _output_axis(node, weight.ndim)
        steps = weight_steps(weight, axis)
        shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
        rounded = np.clip(np.rint(weight / steps.reshape(shape)), -STEPS, STEPS).astype(np.int8)
        inputs = [
            self.constant(f"{label}/int8", rounded),
            self.constant(f"{label}/step", steps),
            self.constant(f"{label}/zero", np.zeros(steps.shape, np.int8)),
        ]
        kind, output = "DequantizeLinear", f"{label}/dq"
        self.added.append(
            helper.make_node(kind, inputs, [output], name=f"{label}/{kind}", axis=axis)
        )

    def constant(self, name: str, value: npt.NDArray[np.generic]) -> str:
        """Add a constant and return its name."""
        from onnx import numpy_helper

        self.constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def finish(self) -> None:
        """Put new nodes in front of what reads them, and drop what nobody reads any more."""
        graph = self.model.graph
        makers = {output: node for node in (*graph.node, *self.added) for output in node.output}
        needed, waiting = set[str](), [output.name for output in graph.output]
        while waiting:
            name = waiting.pop()
            if name not in needed:
                needed.add(name)
                waiting += makers[name].input if name in makers else []
        nodes, made = list[Any](), set[str]()

        def emit(node: Any) -> None:
            """Append a node after what was added for it; all else stands before it anyway."""
            if made.issuperset(node.output):
                return
            for name in node.input:
                if name in makers:
                    emit(makers[name])
            made.update(node.output)
            nodes.append(deepcopy(node))

        for node in graph.node:
            if needed.intersection(node.output):
                emit(node)
        del graph.node[:]
        graph.node.extend(nodes)
        replace_constants(self.model, self.constants)


def _output_axis(node: Any, rank: int) -> int:
    """Return the axis of a weight that holds its layer's outputs."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return 0 if transposed else rank - 1
