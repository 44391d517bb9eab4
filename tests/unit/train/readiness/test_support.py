"""What each version has, told from what TensorRT-RTX's parser says of itself."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from onnx import TensorProto, defs, helper

from runtime.trt_module import import_tensorrt, new_log
from tests.engines import require
from tests.unit.train.readiness.graphs import model, node, quantised
from train.readiness import TARGETS, check_readiness
from train.readiness.support import NARROWED, rejects, types

_JUDGED_OPSET = 27
"""The newest opset whose operators were asked for; newer ones are beyond every target's opset."""


def found(graph: onnx.ModelProto, target: str) -> list[str]:
    return [finding.rule for finding in check_readiness(graph, target)]  # type: ignore[arg-type]


@pytest.fixture
def parser() -> Iterator[object]:
    require("tensorrt_rtx")
    trt = import_tensorrt("rtx")
    log = new_log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(0)
    yield trt.OnnxParser(network, log)
    # Until here: the bindings do not keep alive what a parser needs.
    del network, builder


def test_exactly_what_the_parser_has_not_is_rejected(parser: object) -> None:
    ever = [schema for schema in defs.get_all_schemas_with_history() if schema.domain == ""]
    gone = {schema.name for schema in defs.get_all_schemas() if schema.deprecated}
    names = {schema.name for schema in ever if schema.since_version <= _JUDGED_OPSET} - gone
    missing = {name for name in names if not parser.supports_operator(name)}  # type: ignore[attr-defined]
    assert {name for name in names if rejects("rtx", name)} == missing


@pytest.mark.parametrize("name", sorted(set(TensorProto.DataType.keys()) - {"UNDEFINED", "UINT8"}))
def test_exactly_the_types_that_the_parser_has_may_be_inside(name: str, parser: object) -> None:
    kind = TensorProto.DataType.Value(name)
    graph = model([node("Cast", "x", "a", to=kind), node("Cast", "a", "y", to=1)], opset=24)
    taken = parser.parse(graph.SerializeToString())  # type: ignore[attr-defined]
    assert (name in types("rtx") | NARROWED) == taken
    assert (found(graph, "rtx") == []) == taken


@pytest.mark.parametrize(
    ("operator", "without"),
    [
        ("Det", set(TARGETS)),
        ("DeformConv", {"8.6", "rtx"}),
        ("Hardmax", {"8.6"}),
        ("STFT", {"8.6", "10.3"}),
        ("Relu", set()),
    ],
)
def test_an_operator_is_rejected_by_the_versions_that_have_it_not(
    operator: str, without: set[str]
) -> None:
    assert {target for target in TARGETS if rejects(target, operator)} == without  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["BFLOAT16", "INT64"])
def test_version_8_6_has_fewer_types_of_inputs(kind: str) -> None:
    value = TensorProto.DataType.Value(kind)
    graph = model([node("Identity", "x", "y")], inputs={"x": (value, ["n", 4])})
    assert "R12" in found(graph, "8.6")
    assert {target for target in TARGETS if found(graph, target)} == {"8.6"}


def test_version_8_6_counts_in_int64_inside_and_computes_not_in_bfloat16() -> None:
    def graph(kind: int) -> onnx.ModelProto:
        return model([node("Cast", "x", "a", to=kind), node("Cast", "a", "y", to=1)])

    assert found(graph(TensorProto.INT64), "8.6") == []
    assert found(graph(TensorProto.BFLOAT16), "8.6") == ["R12"]
    assert found(graph(TensorProto.BFLOAT16), "10.3") == []


@pytest.mark.parametrize(
    ("kind", "without"),
    [
        (TensorProto.INT4, {"8.6"}),
        (TensorProto.FLOAT8E4M3FN, {"8.6"}),
        (TensorProto.FLOAT4E2M1, {"8.6", "10.3"}),
        (TensorProto.INT16, set(TARGETS)),
    ],
)
def test_what_a_version_quantises_to_depends_on_it(kind: int, without: set[str]) -> None:
    graph = quantised()
    zero = next(entry for entry in graph.graph.initializer if entry.name == "z")
    zero.CopyFrom(TensorProto(name="z", data_type=kind, raw_data=b"\0\0"[: 1 + (kind == 5)]))
    assert {target for target in TARGETS if "R03" in found(graph, target)} == without
    told = [str(finding) for finding in check_readiness(graph, "8.6")]
    expected = f"{TensorProto.DataType.Name(kind)}, which TensorRT 8.6 does not quantise to"
    assert [line for line in told if expected in line]


def test_uint8_may_come_and_go_and_be_stored_but_not_be_between() -> None:
    uint8 = TensorProto.UINT8
    assert found(model([node("Cast", "x", "y", to=uint8)]), "10.3") == []
    stored = model([node("Cast", "k", "f", to=1), node("Add", "x f", "y")], {"k": np.uint8(3)})
    assert found(stored, "10.3") == []
    body = helper.make_graph(
        [node("Cast", "x", "a", to=uint8), node("Cast", "a", "b", to=1)],
        "body",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)],
    )
    flag = {"x": (TensorProto.FLOAT, ["n", 4]), "flag": (TensorProto.BOOL, [])}
    chosen = model([node("If", "flag", "y", then_branch=body, else_branch=body)], inputs=flag)
    assert found(chosen, "10.3") == ["R12", "R12"]


def test_what_a_plugin_puts_out_is_unknown_even_where_its_domain_is() -> None:
    nodes = [helper.make_node("Own", ["x"], ["a"], domain="own"), node("Relu", "a", "y")]
    assert found(model(nodes), "10.3") == ["R09"]
