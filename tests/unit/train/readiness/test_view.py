"""What is found behind what exporters put in between."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.unit.train.readiness.graphs import constants, model, node, pair, weight
from train.readiness import check_readiness
from train.readiness.view import GraphView


def written_out(**values: object) -> onnx.ModelProto:
    """A quantised convolution; ``values`` are attributes of the Constant that is its scale."""
    stored = {name: value for name, value in constants().items() if name != "s"}
    scale = helper.make_node("Constant", [], ["s"], **values)
    return model([scale, *pair("x", "d"), weight(), node("Conv", "d wd b", "y")], stored)


@pytest.mark.parametrize("name", ["value_float", "value_floats"])
def test_scales_may_be_attributes(name: str) -> None:
    def rules(scale: float) -> list[str]:
        values = {name: [scale] if name.endswith("s") else scale}
        return [finding.rule for finding in check_readiness(written_out(**values), "10.3")]

    assert rules(0.05) == []
    assert set(rules(-0.05)) == {"R07"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"value_float": 0.5}, np.float32(0.5)),
        ({"value_floats": [0.5, 2.0]}, np.array([0.5, 2], np.float32)),
        ({"value_int": 3}, np.int64(3)),
        ({"value_ints": [3, 4]}, np.array([3, 4])),
    ],
)
def test_a_constant_may_give_its_numbers_as_attributes(
    given: dict[str, object], expected: np.ndarray
) -> None:
    graph = model([helper.make_node("Constant", [], ["s"], **given), node("Add", "x s", "y")])
    array = GraphView(graph).array("s")
    assert array is not None
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array, expected)
