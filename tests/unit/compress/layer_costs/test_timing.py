"""Graphs of single layers, and what is measured of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import compress.layer_costs.timing
from benchmarks.noise import Noise
from benchmarks.scenarios import Comparison, Query
from compress.layer_costs.engine_timing import open_graph
from compress.layer_costs.table import LayerShape
from compress.layer_costs.timing import axis, layer_graph, measure_table
from tests.engines import require

DENSE = LayerShape(
    kind="conv", kernel=(3, 3), stride=(2, 1), padding=(1, 1), dilation=(1, 2), height=7, width=9
)
GROUPED = LayerShape(
    kind="conv", kernel=(3, 3), padding=(1, 1), height=4, width=5, per_group=(2, 3)
)
SIDED = LayerShape(kind="conv", kernel=(2, 4), padding=(0, 1, 1, 2), height=4, width=5)
LINEAR = LayerShape(kind="linear")


def test_an_axis_halves_the_largest_and_keeps_what_cannot_shrink() -> None:
    assert axis([(64, True)], 8) == (8, 16, 32, 64)
    assert axis([(100, True), (40, True)], 8) == (16, 32, 56, 100)
    assert axis([(3, False)], 8) == (3,)
    assert axis([(3, False), (16, True)], 16) == (3, 16)
    assert axis([(6, True)], 8) == (6,)


@pytest.mark.parametrize(
    ("shape", "inputs", "outputs", "weight"),
    [
        (DENSE, 5, 8, (8, 5, 3, 3)),
        (GROUPED, 6, 9, (9, 2, 3, 3)),
        (SIDED, 3, 4, (4, 3, 2, 4)),
        (LINEAR, 12, 7, (7, 12)),
    ],
)
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_graph_computes_its_layer(
    shape: LayerShape, inputs: int, outputs: int, weight: tuple[int, ...], engine: str
) -> None:
    require(engine)
    graph = layer_graph(shape, inputs, outputs)
    model = onnx.load_from_string(graph)
    onnx.checker.check_model(model, full_check=True)
    constants = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    assert constants["weight"].shape == weight
    size = (1, inputs) if shape is LINEAR else (1, inputs, shape.height, shape.width)
    values = np.random.default_rng(1).standard_normal(size).astype(np.float32)
    tensors = {name: torch.from_numpy(value.copy()) for name, value in constants.items()}
    if shape is LINEAR:
        expected = torch.nn.functional.linear(torch.from_numpy(values), **tensors).relu()
    else:
        top, left, bottom, right = (*shape.padding, *shape.padding)[:4]
        expected = (
            torch.nn.functional.conv2d(
                torch.nn.functional.pad(torch.from_numpy(values), (left, right, top, bottom)),
                **tensors,
                stride=shape.stride,
                dilation=shape.dilation,
                groups=inputs // shape.per_group[0] if shape.tied else 1,
            )
            .relu()
            .mean((2, 3), keepdim=True)
        )
    found = open_graph(engine, graph, values)()
    found = found[0] if isinstance(found, list) else np.asarray(found[0])  # type: ignore[index]
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)


def test_a_call_without_the_layer_is_taken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """With fake times: 0.3 ms a call, and a microsecond for each output channel."""
    require("onnxruntime")

    def fake(queries: Mapping[str, Query], **_: object) -> Comparison:
        for query in queries.values():
            query()
        ms = {n: 0.3 + (0 if n == "call" else int(n) / 1000) for n in queries}
        return Comparison({n: np.full(5, value) for n, value in ms.items()}, Noise(0.0))

    monkeypatch.setattr(compress.layer_costs.timing, "compare_interleaved", fake)
    table = measure_table(
        "onnxruntime",
        {DENSE: [((3, False), (16, True))], GROUPED: [((6, True), (9, True))]},
        round_to=8,
    )
    assert table.layers[DENSE].inputs == (3,)
    assert table.layers[DENSE].outputs == (8, 16)
    assert table.layers[DENSE].ms[0] == pytest.approx((0.008, 0.016))
    assert (table.layers[GROUPED].inputs, table.layers[GROUPED].outputs) == ((6,), ())
    assert table.layers[GROUPED].ms == (pytest.approx((0.009,)),)
    assert (table.engine, table.threads, table.precision) == ("onnxruntime", 1, "fp32")
    assert "onnxruntime" in table.environment["packages"]
