"""Timing single layers in an engine: graphs of one layer each, by turns.

A graph holds a convolution with its bias, a ReLU, and an average over the map so that hardly any
result has to be handed back. From its time that of a graph without the convolution is taken: what
it costs to call the engine at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from benchmarks.command import require_packages, say
from benchmarks.environment import environment
from benchmarks.scenarios import Query, compare_interleaved

from .engine_timing import Values, fastest_ms, open_graph, require_engine
from .table import CostTable, LayerShape, PointGrid

__all__ = ["Extent", "axis", "layer_graph", "measure_table"]

_OPSET: Final = 20
_IR_VERSION: Final = 10
_POINTS: Final = 4
_ROUNDS: Final = 20
_BLOCK_S: Final = 0.001
_CALL: Final = "call"

Extent = tuple[int, bool]
"""Largest number of channels, and whether there may be fewer."""


def axis(extents: Sequence[Extent], round_to: int) -> tuple[int, ...]:
    """Return the counts to measure at: the largest, halved again and again, rising.

    Args:
        extents: Of all layers of one shape.
        round_to: All but the given counts are multiples of this.
    """
    counts = {count for count, shrinks in extents if not shrinks}
    for largest in [max((count for count, shrinks in extents if shrinks), default=0)]:
        halves = [-(-largest // (round_to * 2**step)) * round_to for step in range(1, _POINTS)]
        counts |= {largest, *(count for count in halves if count < largest)} - {0}
    return tuple(sorted(counts))


def measure_table(
    engine: str,
    extents: Mapping[LayerShape, Sequence[tuple[Extent, Extent]]],
    *,
    round_to: int = 8,
) -> CostTable:
    """Time layers in an engine of this machine, on one thread.

    Args:
        engine: One of ``engine_timing.ENGINES``.
        extents: Shape to inputs and outputs of each layer that has it.
        round_to: Multiples to measure at.

    Raises:
        EngineUnavailableError: the engine's package is not installed.
        MissingExtraError: onnx is not installed.
    """
    require_packages("compress", "onnx")
    require_engine(engine)
    say(f"timing {len(extents)} shapes of layers in {engine}")
    grids = {}
    for shape, wanted in extents.items():
        inputs = axis([ins for ins, _ in wanted], round_to)
        outputs = () if shape.tied else axis([outs for _, outs in wanted], round_to)
        if shape.tied:
            inputs = tuple(
                sorted({-(-n // shape.per_group[0]) * shape.per_group[0] for n in inputs})
            )
        rows = tuple(_row(engine, shape, count, outputs) for count in inputs)
        grids[shape] = PointGrid(inputs=inputs, outputs=outputs, ms=rows)
    return CostTable(engine=engine, environment=environment(), layers=grids)


def _row(engine: str, shape: LayerShape, inputs: int, outputs: Sequence[int]) -> tuple[float, ...]:
    """Time a layer with all of its output counts, and a call without it, by turns."""
    random = np.random.default_rng(0)
    if shape.kind == "linear":
        values = random.standard_normal((shape.height, inputs))
    else:
        values = random.standard_normal((1, inputs, shape.height, shape.width))
    counts = outputs or (inputs // shape.per_group[0] * shape.per_group[1],)
    queries: dict[str, Query] = {
        name: open_graph(engine, layer_graph(shape, inputs, count), values.astype(np.float32))
        for name, count in ((_CALL, 0), *((str(count), count) for count in counts))
    }
    times = fastest_ms(compare_interleaved(queries, rounds=_ROUNDS, block_s=_BLOCK_S))
    return tuple(max(0.0, times[str(count)] - times[_CALL]) for count in counts)


def layer_graph(shape: LayerShape, inputs: int, outputs: int) -> bytes:
    """Return an ONNX graph of one layer with random weights; without it where ``outputs`` is 0."""
    from onnx import TensorProto, helper

    linear = shape.kind == "linear"
    size = [shape.height, inputs] if linear else [1, inputs, shape.height, shape.width]
    result = [shape.height, outputs or inputs] if linear else [1, outputs or inputs, 1, 1]
    nodes, weights = _layer(shape, inputs, outputs) if outputs else ([], [])
    nodes.append(helper.make_node("Relu", ["layer" if outputs else "x"], ["active"]))
    if not linear:
        nodes.append(helper.make_node("GlobalAveragePool", ["active"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, size)],
        [helper.make_tensor_value_info("active" if linear else "y", TensorProto.FLOAT, result)],
        weights,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION
    )
    data: bytes = model.SerializeToString()
    return data


def _layer(shape: LayerShape, inputs: int, outputs: int) -> tuple[list[Any], list[Any]]:
    """Return the node that puts out ``layer``, and its weights."""
    from onnx import helper, numpy_helper

    random = np.random.default_rng(0)

    def constant(name: str, *size: int) -> Any:
        values: Values = random.standard_normal(size).astype(np.float32)
        return numpy_helper.from_array(values, name)

    names = ["x", "weight", "bias"]
    if shape.kind == "linear":
        node = helper.make_node("Gemm", names, ["layer"], transB=1)
        return [node], [constant("weight", outputs, inputs), constant("bias", outputs)]
    groups = inputs // shape.per_group[0] if shape.tied else shape.groups
    node = helper.make_node(
        "Conv",
        names,
        ["layer"],
        kernel_shape=shape.kernel,
        strides=shape.stride,
        pads=shape.padding if len(shape.padding) == 4 else shape.padding * 2,
        dilations=shape.dilation,
        group=groups,
    )
    return [node], [
        constant("weight", outputs, inputs // groups, *shape.kernel),
        constant("bias", outputs),
    ]
