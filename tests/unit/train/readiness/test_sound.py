"""What is no graph of ONNX is an error that says why; it takes no wrong turn in a rule."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from runtime.errors import DataError
from tests.unit.train.readiness.graphs import constants, model, node, pair, quantised
from train.readiness import check_readiness, require_ready


def bare(kind: str, inputs: str = "", outputs: str = "") -> onnx.ModelProto:
    """One node, as it is given, and one that is sound."""
    odd = helper.make_node(kind, inputs.split(), outputs.split())
    return model([odd, node("Relu", "x", "y")])


def with_scale(scale: TensorProto) -> onnx.ModelProto:
    graph = quantised()
    next(entry for entry in graph.graph.initializer if entry.name == "s").CopyFrom(scale)
    return graph


def recursive() -> onnx.ModelProto:
    own = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    calls = helper.make_node("F", ["a"], ["b"], domain="own")
    graph = model([helper.make_node("F", ["x"], ["y"], domain="own")], domains=["own"])
    graph.functions.append(helper.make_function("own", "F", ["a"], ["b"], [calls], own))
    return graph


UNSOUND: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "no input": (
        lambda: bare("QuantizeLinear", "", "q"),
        "q has 0 inputs, expected QuantizeLinear with 2 or more",
    ),
    "no scale": (lambda: bare("QuantizeLinear", "x", "q"), "q has 1 inputs"),
    "Identity of nothing": (lambda: bare("Identity", "", "s"), "s has 0 inputs"),
    "nothing to normalise": (lambda: bare("BatchNormalization", "", "q"), "q has 0 inputs"),
    "no output": (
        lambda: bare("Det", "x"),
        "Det has 0 outputs, expected Det with 1 or more",
    ),
    "older than its operator": (
        lambda: model([node("QuantizeLinear", "x", "y")], opset=9),
        "y-node has 1 inputs",
    ),
    "wrong attribute": (
        lambda: model(pair("x", "y", axis="two"), constants()),
        "y_q-node has the attribute axis of another type than QuantizeLinear, expected INT",
    ),
    "torn data": (
        lambda: with_scale(TensorProto(name="s", data_type=1, dims=[9], raw_data=b"abc")),
        r"tensor s \(FLOAT\) cannot be read: ",
    ),
    "data that is elsewhere": (
        lambda: with_scale(
            TensorProto(
                name="s",
                data_type=1,
                dims=[1],
                data_location=TensorProto.EXTERNAL,
                external_data=[onnx.StringStringEntryProto(key="location", value="gone.bin")],
            )
        ),
        r"tensor s \(FLOAT\) cannot be read: ",
    ),
    "unknown type": (
        lambda: with_scale(TensorProto(name="s", data_type=999, dims=[1], raw_data=b"abcd")),
        r"tensor s \(type 999\) cannot be read: ",
    ),
    "text": (
        lambda: with_scale(TensorProto(name="s", data_type=8, dims=[1], string_data=[b"x"])),
        "tensor s is STRING, expected real numbers",
    ),
    "function that calls itself": (recursive, "functions of the graph cannot be inlined: "),
}


@pytest.mark.parametrize("what", UNSOUND)
def test_what_is_no_graph_is_an_error(what: str) -> None:
    make, message = UNSOUND[what]
    with pytest.raises(DataError, match=message):
        require_ready(make(), "10.3", "graph.onnx")


def test_an_operator_of_others_may_have_the_name_and_not_the_form_of_one_of_onnx() -> None:
    nodes = [
        helper.make_node(kind, [], [f"{kind}-output"], domain="own")
        for kind in ("QuantizeLinear", "Identity", "BatchNormalization", "Conv", "Relu")
    ]
    # Reading on behind one of them must stop there as well.
    nodes += pair("x", "y", "Identity-output")
    found = check_readiness(model(nodes, constants(), domains=["own"]), "10.3")
    assert [finding.rule for finding in found] == ["R07"] * 2 + ["R09"] * 5


def test_operators_that_onnx_never_had_are_left_to_the_parser() -> None:
    nodes = [helper.make_node("EfficientNMS_TRT", ["x"], ["y"])]
    assert check_readiness(model(nodes), "10.3") == []


def test_an_empty_scale_breaks_a_rule() -> None:
    found = check_readiness(quantised(s=np.zeros(0, np.float32)), "10.3")
    assert {str(finding)[:33] for finding in found} == {
        "R07 d_q-node: scale is empty; sto",
        "R07 d-node: scale is empty; store",
    }


def test_an_input_of_no_type_is_named() -> None:
    graph = model([node("Relu", "x", "y")], inputs={"x": (999, ["n", 4])})
    assert [finding.what for finding in check_readiness(graph, "10.3")] == ["input is type 999"]
