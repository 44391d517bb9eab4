"""Names hold within their graph, and every tensor is made once, before it is read."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime.errors import DataError
from tests.unit.train.readiness.graphs import constants, model, node, pair, weight
from train.readiness import check_readiness


def found(graph: onnx.ModelProto) -> list[tuple[str, str]]:
    """Rule and node of each finding."""
    return [(finding.rule, finding.node) for finding in check_readiness(graph, "10.3")]


def branch(name: str, zero: int) -> onnx.GraphProto:
    """Quantises ``x``; its tensors are called as those of every other branch."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name=name),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
    ]
    stored = {"s": np.float32(0.1), "z": np.int8(zero)}
    return helper.make_graph(
        nodes,
        name,
        [],
        [helper.make_tensor_value_info("d", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), key) for key, value in stored.items()],
    )


@pytest.mark.parametrize(("then", "other"), [(0, 7), (7, 0), (0, 0)])
def test_two_branches_may_call_different_tensors_alike(then: int, other: int) -> None:
    bodies = {"then_branch": branch("first", then), "else_branch": branch("second", other)}
    chosen = model(
        [node("If", "flag", "y", **bodies)],
        inputs={"x": (TensorProto.FLOAT, ["n", 4]), "flag": (TensorProto.BOOL, [])},
    )
    broken = {"first": then, "second": other}
    # The dequantisers have no names: they go by what the file calls their outputs.
    expected = [("R02", n) for name, zero in broken.items() if zero for n in (name, "d")]
    assert found(chosen) == expected


def test_constant_nodes_may_give_their_tensors_one_name() -> None:
    def graph(**changes: object) -> onnx.ModelProto:
        stored = {**constants(s2=np.float32(0.05)), **changes}
        nodes = [
            helper.make_node(
                "Constant", [], [name], value=numpy_helper.from_array(np.asarray(value), "value")
            )
            for name, value in stored.items()
        ]
        quantisers = [
            node("QuantizeLinear", "x s z", "q"),
            node("DequantizeLinear", "q s2 z", "d"),
            weight(),
        ]
        return model([*nodes, *quantisers, node("Conv", "d wd b", "y")])

    assert found(graph()) == []
    assert found(graph(s2=np.float32(0.9))) == [("R08", "q-node")]
    assert found(graph(wz=np.array([0, 5, 0, 0], np.int8))) == [("R02", "wd-node")]


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Identity", "b", "a"), node("Identity", "a", "b"), *pair("x", "y", "a", "b")],
        [node("Relu", "x", "y"), node("Identity", "a", "a"), node("QuantizeLinear", "y a", "q")],
        [node("Relu", "later", "y"), node("Relu", "x", "later")],
    ],
)
def test_a_tensor_that_is_read_before_it_is_made_is_an_error(nodes: list[onnx.NodeProto]) -> None:
    with pytest.raises(DataError, match=r"-node reads \w+, which nothing before it makes"):
        check_readiness(model(nodes), "10.3")


def test_a_tensor_that_is_made_twice_is_an_error() -> None:
    twice = model([node("Relu", "x", "y"), node("Neg", "x", "y")])
    with pytest.raises(DataError, match="tensor y is made twice"):
        check_readiness(twice, "10.3")


def test_old_files_list_their_initialisers_as_inputs() -> None:
    values = {"x": (TensorProto.FLOAT, ["n", 4, 8, 8]), "s": (TensorProto.FLOAT, [])}
    assert found(model(pair("x", "y"), constants(), inputs=values)) == []


def test_optional_inputs_and_outputs_may_be_left_out() -> None:
    clip = helper.make_node("Clip", ["x", "", "high"], ["y"])
    dropout = helper.make_node("Dropout", ["y"], ["d", ""])
    # Reading what has no name must not follow who makes nothing.
    nothing = helper.make_node("Identity", [""], [""])
    assert found(model([clip, dropout, nothing], {"high": np.float32(6)})) == []


def test_a_name_that_is_no_text_is_an_error() -> None:
    graph = model([node("Relu", "x", "yyyy"), node("Neg", "yyyy", "y")])
    torn = onnx.ModelProto.FromString(graph.SerializeToString().replace(b"yyyy", b"\xff" * 4))
    with pytest.raises(DataError, match="is not UTF-8"):
        check_readiness(torn, "10.3")
    torn = onnx.ModelProto.FromString(graph.SerializeToString().replace(b"Relu", b"\xff" * 4))
    with pytest.raises(DataError, match="is not UTF-8"):
        check_readiness(torn, "10.3")
