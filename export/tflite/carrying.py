"""Carrying the INT8 decisions of compress over to a TFLite graph.

compress decides on an ONNX graph: which layers run in INT8, and the steps of their activations.
TFLite's graph is another one, with names of its own, so tensors are found by what they hold: both
float graphs run on the same crops of noise, and tensors with the same values are the same tensor.
What the decisions leave in float stays in float. This needs no calibration data, and on a CPU it is
also faster than integers everywhere: what stays are additions and products whose INT8 kernels cost
more than the two conversions (MobileNet v3: 0.35 against 0.62 ms).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from runtime.engine_imports import import_onnxruntime
from runtime.errors import EngineError
from runtime.schema import INPUT_NAME
from runtime.staging import scratch_folder
from train.checkpoint import Checkpoint
from train.graph import write_graph
from train.int8.requantise import adapt_to
from train.network import Network
from train.node_names import LAYER_KINDS

from .flatfile import FlatFile, Operator
from .running import tensor_values

__all__ = ["LAYERS", "Carried", "Decided", "carry", "read_decisions"]

LAYERS: Final = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"})
"""Operators with a weight that have integer outputs."""
_PASSING: Final = frozenset(
    {"PAD", "PADV2", "MAX_POOL_2D", "RESHAPE", "TRANSPOSE", "SLICE", "STRIDED_SLICE"}
)
"""Operators whose outputs are values of their first input."""
_PROBES: Final = 3
_TOLERANCE: Final = 1e-4
"""Difference that the order of additions explains, as a share of a tensor's largest value."""
Values = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Decided:
    """The INT8 decisions of a graph."""

    ranges: Mapping[str, tuple[float, float]]
    """Activation to the ends of its 8-bit grid."""
    layers: Mapping[str, bool]
    """Output of every layer, before and behind its ReLU or bias, to whether it runs in INT8."""
    count: int
    """Layers that run in INT8."""


@dataclass(frozen=True, slots=True)
class Carried:
    """The decisions as they stand in a TFLite graph."""

    ranges: Mapping[str, tuple[float, float]]
    """Tensor to the ends of its 8-bit grid."""
    integer: Sequence[Operator]
    """Operators that read and write integers."""
    dynamic: Sequence[Operator]
    """Layers with INT8 weights whose outputs the decisions leave in float: the logits."""
    kept: Sequence[Operator]
    """Layers that compress kept in float on feature maps: because they harm a head."""


def read_decisions(model: Any) -> Decided:
    """Return what an ``onnx.ModelProto`` with Q/DQ nodes decides.

    It is read as ONNX Runtime gets it, since both need the same: the outputs of all layers rounded,
    and grids without a negative half where nothing is negative.

    Raises:
        EngineError: a grid has a zero point.
    """
    from onnx import numpy_helper

    adapted = copy.deepcopy(model)
    adapt_to("onnxruntime", adapted)
    graph = adapted.graph
    constants = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    ranges, layers, count = dict[str, tuple[float, float]](), dict[str, bool](), 0
    rounded, followers = dict[str, str](), dict[str, str]()
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            ranges[node.input[0]] = _range(node, constants)
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            rounded[node.output[0]] = rounded.get(node.input[0], node.input[0])
        sides = [rounded.get(name, name) for name in node.input if name not in constants]
        if node.op_type in LAYER_KINDS:
            weight = makers.get(node.input[1])
            quantised = (
                weight is not None
                and weight.op_type == "DequantizeLinear"
                and weight.input[0] in constants
            )
            if quantised or node.input[1] in constants:
                layers[node.output[0]] = quantised
                count += quantised
        elif node.op_type in ("Relu", "Clip", "Add") and len(sides) == 1 and sides[0] in layers:
            layers[node.output[0]] = layers[sides[0]]
            followers[node.output[0]] = sides[0]
    for output, source in followers.items():
        # What is rounded before a ReLU6 needs no other grid behind it; TFLite has only the latter.
        if source in ranges:
            ranges.setdefault(output, ranges[source])
    return Decided(ranges, layers, count)


def _range(node: Any, constants: Mapping[str, npt.NDArray[Any]]) -> tuple[float, float]:
    zero = constants.get(node.input[2]) if len(node.input) > 2 else None
    if zero is None or zero.dtype not in (np.int8, np.uint8) or zero.any():
        raise EngineError(
            f"activation {node.input[0]!r} has no 8-bit grid with zero point 0; quantise the "
            "checkpoint again with compress.quantize"
        )
    step, ends = float(constants[node.input[1]]), np.iinfo(zero.dtype)
    return ends.min * step, ends.max * step


def carry(graph: FlatFile, decided: Decided, network: Network, checkpoint: Checkpoint) -> Carried:
    """Find the decisions' tensors and layers in a float TFLite graph.

    Args:
        graph: Of ``network``.
        decided: On the ONNX graph of ``network``.
        network: The checkpoint's.
        checkpoint: Schema and input.

    Raises:
        EngineError: the decisions are on another graph than the network's.
    """
    twins = _twins(graph, decided, network, checkpoint)
    ranges, layers = dict[str, tuple[float, float]](), dict[str, bool]()
    for name, others in twins.items():
        for other in others:
            if other in decided.ranges:
                ranges[name] = decided.ranges[other]
            if other in decided.layers:
                layers[name] = decided.layers[other]
    return _placed(graph, ranges, layers)


def _placed(
    graph: FlatFile, ranges: dict[str, tuple[float, float]], layers: Mapping[str, bool]
) -> Carried:
    """Say what every operator does, given the ranges and layers that were found by their outputs.

    Operators that pass values on give their outputs the range of their input.
    """
    integer, dynamic, kept = list[Operator](), list[Operator](), list[Operator]()
    for operator in graph.operators:
        output = operator.outputs[0]
        sources = [tensor.name for tensor in operator.activations]
        ranged = bool(sources) and all(name in ranges for name in sources)
        quantised = layers.get(output.name, False)
        if operator.kind == "FULLY_CONNECTED":
            if quantised and len(sources) == 1:
                dynamic.append(operator)
        elif operator.kind in LAYERS:
            if quantised and ranged and output.name in ranges:
                integer.append(operator)
            elif not quantised and output.name in layers and max(output.shape[1:3]) > 1:
                kept.append(operator)
        elif operator.kind == "ADD":
            if ranged and len(sources) == 2 and output.name in ranges:
                integer.append(operator)
        elif operator.kind in _PASSING and ranged:
            passed = [ranges.setdefault(t.name, ranges[sources[0]]) for t in operator.outputs]
            if all(found == ranges[sources[0]] for found in passed):
                integer.append(operator)
    return Carried(ranges, integer, dynamic, kept)


def _twins(
    graph: FlatFile, decided: Decided, network: Network, checkpoint: Checkpoint
) -> Mapping[str, Sequence[str]]:
    """Return TFLite tensor to the ONNX tensors that hold the same values."""
    batch = graph.tensors[graph.input].shape[0]
    shape = (batch, *checkpoint.input.shape)
    random = np.random.default_rng(0)
    probes = [
        (random.integers(0, 256, shape) * random.uniform(0.2, 1, (batch, 1, 1, 3))).astype(np.uint8)
        for _ in range(_PROBES)
    ]
    wanted = {*decided.ranges, *decided.layers}
    known = _Values(_onnx_values(network, checkpoint, wanted, probes))
    return {name: known.like(values) for name, values in tensor_values(graph, probes).items()}


def _onnx_values(
    network: Network, checkpoint: Checkpoint, wanted: set[str], probes: Sequence[Any]
) -> Iterator[tuple[str, Values]]:
    """Yield the float values of the ONNX tensors ``wanted``, over all probes, channels last."""
    import onnx
    from onnx import TensorProto, helper

    with scratch_folder() as scratch:
        path = scratch / "float.onnx"
        write_graph(network, checkpoint.schema, checkpoint.input, path)
        model = onnx.load(path)
    there = {name for node in model.graph.node for name in node.output}
    foreign = sorted(wanted - there)
    if foreign:
        raise EngineError(
            f"the INT8 decisions of {checkpoint.folder} are on {len(foreign)} tensors that its "
            f"network does not have ({', '.join(foreign[:3])}); quantise it again with this version"
        )
    names = sorted(wanted)
    del model.graph.output[:]
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    engine = import_onnxruntime()
    settings = engine.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = 1, 3
    session = engine.InferenceSession(
        model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )
    runs = [session.run(names, {INPUT_NAME: probe}) for probe in probes]
    for name, *parts in zip(names, *runs, strict=True):
        values = np.stack(parts)
        yield name, np.moveaxis(values, 2, -1) if values.ndim == 5 else values


class _Values:
    """Tensors to be found by their values."""

    def __init__(self, tensors: Iterator[tuple[str, Values]]) -> None:
        self._by_size: dict[int, list[tuple[str, Values]]] = {}
        for name, values in tensors:
            self._by_size.setdefault(values.size, []).append((name, values.ravel()))

    def like(self, values: Values) -> list[str]:
        """Return the names of the tensors with these values; constant ones are like none."""
        flat = values.ravel()
        largest = float(np.abs(flat).max(initial=0.0))
        if not flat.size or not np.ptp(flat) > 0:
            return []
        return [
            name
            for name, other in self._by_size.get(flat.size, [])
            if float(np.abs(flat - other).max()) <= _TOLERANCE * largest
        ]
