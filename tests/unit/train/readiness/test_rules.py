"""Every rule of readiness: one graph that breaks it, one that differs just enough to keep it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from runtime.errors import EngineError
from tests.unit.train.readiness.graphs import (
    KERNEL,
    constants,
    model,
    node,
    pair,
    quantised,
    weight,
)
from train.readiness import check_readiness, require_ready
from train.readiness.findings import RULES, TARGETS

Make = Callable[[], onnx.ModelProto]
FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8


def float_conv(**changes: object) -> onnx.ModelProto:
    return model([node("Conv", "x w", "y")], {"w": KERNEL}, **changes)  # type: ignore[arg-type]


def image_graph(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    return model(nodes, inputs={"image": (UINT8, ["n", 8, 8, 4])})


def between_casts(kind: int, *inside: onnx.NodeProto) -> onnx.ModelProto:
    """``inside`` takes ``a``, which is of type ``kind``, and gives ``b``."""
    casts = [node("Cast", "x", "a", to=kind), node("Cast", "b", "y", to=FLOAT)]
    return model([casts[0], *inside, casts[1]])


def quantised_linear(kind: str, shape: tuple[int, ...], axis: int, **more: int) -> onnx.ModelProto:
    values = constants(w=np.ones(shape, np.int8), ws=np.full(shape[axis], 0.1, np.float32))
    values["wz"] = np.zeros(shape[axis], np.int8)
    layers = [*pair("x", "d"), weight(axis=axis), node(kind, "d wd", "y", **more)]
    return model(layers, values, inputs={"x": (FLOAT, ["n", 6])})


def turned_linear(axis: int, shape: tuple[int, int], *between: onnx.NodeProto) -> onnx.ModelProto:
    """A MatMul whose weight is dequantised along ``axis`` and then turned by ``between``."""
    values = constants(w=np.ones(shape, np.int8), ws=np.full(shape[axis], 0.1, np.float32))
    values["wz"] = np.zeros(shape[axis], np.int8)
    layers = [*pair("x", "d"), weight("t0", axis=axis), *between, node("MatMul", "d wd", "y")]
    return model(layers, values, inputs={"x": (FLOAT, ["n", 6])})


TURN = node("Transpose", "t0", "wd", perm=[1, 0])
TURN_UNSAID = [node("Identity", "t0", "t1"), node("Transpose", "t1", "wd")]


def zero_free(kind: object) -> onnx.ModelProto:
    """Without zero points, the stored weight of numpy type ``kind``."""
    values = constants(w=np.ones((4, 4, 3, 3), kind))  # type: ignore[call-overload]
    dequantiser = node("DequantizeLinear", "w ws", "wd", axis=0)
    layers = [*pair("x", "d"), dequantiser, node("Conv", "d wd", "y")]
    return model(layers, values)


def residual(*, both: bool) -> onnx.ModelProto:
    """A convolution whose output is added to the quantised shortcut."""
    side = pair("c", "side") if both else [node("Identity", "c", "side")]
    layers = [*pair("x", "d"), weight(), node("Conv", "d wd b", "c", pads=[1, 1, 1, 1]), *side]
    return model([*layers, node("Add", "side d", "y")], constants())


def activation(*, between: bool) -> onnx.ModelProto:
    start = [*pair("x", "d"), weight(), node("Conv", "d wd b", "c")]
    middle = [*pair("c", "e"), node("Relu", "e", "y")]
    behind = [node("Relu", "c", "r"), *pair("r", "y")]
    return model([*start, *(middle if between else behind)], constants())


def normalised(*, trains: int = 0, quantise: bool = False) -> onnx.ModelProto:
    values = constants(k=KERNEL, one=np.ones(4, np.float32))
    start = [*pair("x", "d"), weight()] if quantise else []
    conv = node("Conv", "d wd b" if quantise else "x k", "c")
    norm = node("BatchNormalization", "c one one one one", "y", training_mode=trains)
    if trains:
        norm.output.extend(["mean", "var"])
    return model([*start, conv, norm], values)


def half_quantised(*, pool: bool, quantise: bool) -> onnx.ModelProto:
    start = pair("x", "d") if quantise else [node("Identity", "x", "d")]
    pooled = [node("MaxPool", "d", "p", kernel_shape=[2, 2])] if pool else []
    conv = node("Conv", "p wd b" if pool else "d wd b", "y")
    return model([*start, *pooled, weight(), conv], constants())


def typed(activation_type: object) -> onnx.ModelProto:
    values = constants(s=np.asarray(0.05, activation_type))  # type: ignore[call-overload]
    return model([*pair("x", "d"), weight(), node("Conv", "d wd", "y")], values)


def scale_input() -> onnx.ModelProto:
    values = {name: value for name, value in constants().items() if name != "s"}
    inputs = {"x": (FLOAT, ["n", 4, 8, 8]), "s": (FLOAT, [])}
    layers = [*pair("x", "d"), weight(), node("Conv", "d wd b", "y")]
    return model(layers, values, inputs=inputs)


def unequal_pair(scale: float, *, pool: bool = False) -> onnx.ModelProto:
    between = node("MaxPool", "q", "p", kernel_shape=[2, 2]) if pool else node("Identity", "q", "p")
    layers = [
        node("QuantizeLinear", "x s z", "q"),
        between,
        node("DequantizeLinear", "p other z", "d"),
        weight(),
        node("Conv", "d wd b", "y"),
    ]
    return model(layers, constants(other=np.float32(scale)))


def bias(kind: type) -> onnx.ModelProto:
    """A bias that is stored as ``kind`` behind a DequantizeLinear, or as float."""
    stored = [node("DequantizeLinear", "stored ws", "bd")] if kind is np.int32 else []
    name = "bd" if stored else "b"
    layers = [*pair("x", "d"), weight(), *stored, node("Conv", f"d wd {name}", "y")]
    return model(layers, constants(stored=np.zeros(4, np.int32)))


CASES: dict[str, list[tuple[Make, Make]]] = {
    "R01": [
        (
            lambda: model([helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "ys", "yz"])]),
            lambda: model(pair("x", "y"), constants()),
        ),
        (
            lambda: model([node("MaxUnpool", "x i", "y", kernel_shape=[2, 2])], {"i": np.int64(0)}),
            lambda: model([node("MaxPool", "x", "y", kernel_shape=[2, 2])]),
        ),
    ],
    "R02": [
        (lambda: quantised(z=np.int8(3)), quantised),
        (lambda: quantised(wz=np.array([0, 0, -1, 0], np.int8)), quantised),
    ],
    "R03": [
        (lambda: quantised(z=np.uint8(0)), quantised),
        (lambda: quantised(z=np.int16(0)), quantised),
        (lambda: model(pair("x", "y", zero=""), constants()), quantised),
        (
            lambda: model(pair("x", "y", zero=""), constants(), opset=21),
            lambda: model(
                [
                    node("QuantizeLinear", "x s", "q", output_dtype=TensorProto.INT8),
                    node("DequantizeLinear", "q s", "y"),
                ],
                constants(),
                opset=21,
            ),
        ),
        (lambda: zero_free(np.uint8), lambda: zero_free(np.int8)),
    ],
    "R04": [(lambda: bias(np.int32), lambda: bias(np.float32))],
    "R05": [
        (
            lambda: model(pair("x", "y", "ws", "wz", axis=1), constants()),
            lambda: model(pair("x", "y"), constants()),
        )
    ],
    "R06": [
        (
            lambda: quantised_linear("Gemm", (6, 6), 0),
            lambda: quantised_linear("Gemm", (6, 6), 1),
        ),
        (
            lambda: quantised_linear("Gemm", (6, 6), 1, transB=1),
            lambda: quantised_linear("Gemm", (6, 6), 0, transB=1),
        ),
        (
            lambda: quantised_linear("Gemm", (6, 6), -2),
            lambda: quantised_linear("Gemm", (6, 6), -1),
        ),
        (
            lambda: quantised_linear("MatMul", (6, 6), 0),
            lambda: quantised_linear("MatMul", (6, 6), 1),
        ),
        (
            lambda: model(
                [*pair("x", "d"), weight(axis=1), node("Conv", "d wd", "y")], constants()
            ),
            lambda: model(
                [*pair("x", "d"), weight(axis=0), node("Conv", "d wd", "y")], constants()
            ),
        ),
        (
            lambda: model(
                [*pair("x", "d"), weight(axis=0), node("ConvTranspose", "d wd", "y")], constants()
            ),
            lambda: model(
                [*pair("x", "d"), weight(axis=1), node("ConvTranspose", "d wd", "y")], constants()
            ),
        ),
        (lambda: turned_linear(1, (5, 6), TURN), lambda: turned_linear(0, (5, 6), TURN)),
        (
            lambda: turned_linear(-1, (5, 6), *TURN_UNSAID),
            lambda: turned_linear(-2, (5, 6), *TURN_UNSAID),
        ),
    ],
    "R07": [
        (lambda: quantised(s=np.float32(0)), quantised),
        (lambda: quantised(s=np.float32(-0.1)), quantised),
        (lambda: quantised(s=np.float32("nan")), quantised),
        (lambda: quantised(ws=np.array([1, 1, np.inf, 1], np.float32)), quantised),
        (scale_input, quantised),
    ],
    "R08": [
        (
            partial(unequal_pair, 0.06, pool=pool),
            partial(unequal_pair, 0.05, pool=pool),
        )
        for pool in (False, True)
    ],
    "R09": [
        (
            lambda: model(
                [helper.make_node("FusedConv", ["x", "w"], ["y"], domain="com.microsoft")],
                {"w": KERNEL},
                domains=["com.microsoft"],
            ),
            lambda: model([node("Relu", "x", "y")], domains=["com.microsoft"]),
        )
    ],
    "R10": [(lambda: normalised(trains=1), normalised)],
    "R11": [(lambda: float_conv(opset=25), lambda: float_conv(opset=24))],
    "R12": [
        (
            lambda: image_graph(node("Transpose", "image", "t"), node("Cast", "t", "y", to=FLOAT)),
            lambda: image_graph(node("Cast", "image", "t", to=FLOAT), node("Transpose", "t", "y")),
        ),
        (
            lambda: model([node("Relu", "x", "y")], inputs={"x": (TensorProto.DOUBLE, ["n", 4])}),
            lambda: model([node("Relu", "x", "y")], inputs={"x": (TensorProto.FLOAT16, ["n", 4])}),
        ),
        (
            lambda: model([node("Identity", "x", "y")], inputs={"x": (TensorProto.STRING, ["n"])}),
            lambda: model([node("Identity", "x", "y")], inputs={"x": (TensorProto.INT64, ["n"])}),
        ),
        (
            partial(between_casts, UINT8, node("MaxPool", "a", "b", kernel_shape=[2, 2])),
            partial(between_casts, FLOAT, node("MaxPool", "a", "b", kernel_shape=[2, 2])),
        ),
        (
            partial(between_casts, TensorProto.INT16, node("Identity", "a", "b")),
            partial(between_casts, TensorProto.INT64, node("Identity", "a", "b")),
        ),
        (
            lambda: model([node("Add", "x k", "y")], {"k": np.uint32(3)}),
            lambda: model([node("Add", "x k", "y")], {"k": np.float64(3)}),
        ),
    ],
    "R13": [(lambda: typed(np.float16), lambda: typed(np.float32))],
    "W01": [
        (
            lambda: float_conv(inputs={"x": (FLOAT, ["n", 4, "height", 8])}),
            lambda: float_conv(inputs={"x": (FLOAT, ["n", 4, 8, 8])}),
        ),
        (
            lambda: float_conv(inputs={"x": (FLOAT, [1, 4, None, 8])}),
            lambda: float_conv(inputs={"x": (FLOAT, [None, 4, 8, 8])}),
        ),
    ],
    "W02": [(lambda: residual(both=True), lambda: residual(both=False))],
    "W03": [(lambda: activation(between=True), lambda: activation(between=False))],
    "W04": [(lambda: normalised(quantise=True), lambda: normalised(quantise=False))],
    "W05": [
        (lambda: quantised(s=np.float32(1e-40)), lambda: quantised(s=np.float32(1e-30))),
    ],
    "W06": [
        (
            partial(half_quantised, pool=pool, quantise=False),
            partial(half_quantised, pool=pool, quantise=True),
        )
        for pool in (False, True)
    ],
}
PAIRS = [(rule, *made) for rule, cases in CASES.items() for made in cases]


def rules(graph: onnx.ModelProto, target: str = "10.3") -> list[str]:
    return [finding.rule for finding in check_readiness(graph, target)]  # type: ignore[arg-type]


def test_every_rule_has_a_case() -> None:
    assert set(CASES) == set(RULES)


@pytest.mark.parametrize(("rule", "broken", "kept"), PAIRS, ids=[rule for rule, *_ in PAIRS])
def test_the_rule_finds_the_graph_that_breaks_it_and_no_other(
    rule: str, broken: Make, kept: Make
) -> None:
    assert set(rules(broken(), "10.16")) == {rule}
    assert rule not in rules(kept(), "10.16")


@pytest.mark.parametrize("make", [quantised, float_conv, lambda: residual(both=False)])
def test_a_sound_graph_has_no_findings(make: Make) -> None:
    graph = make()
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(graph), full_check=True)
    assert rules(graph) == []


def test_the_newest_opset_depends_on_the_target() -> None:
    graph = float_conv(opset=20)
    ready = {target for target in TARGETS if not rules(graph, target)}
    assert ready == {"10.3", "10.13", "10.16", "11.4", "rtx"}
    assert rules(float_conv(opset=17), "8.6") == []
    assert rules(float_conv(opset=25), "11.4") == ["R11"]


def test_constants_are_found_behind_identity_and_constant_nodes() -> None:
    graph = quantised(z=np.uint8(0))
    hidden = deepcopy(graph)
    del hidden.graph.node[:]
    stored = next(entry for entry in graph.graph.initializer if entry.name == "z")
    hidden.graph.initializer.remove(
        next(entry for entry in hidden.graph.initializer if entry.name == "z")
    )
    first = helper.make_node("Constant", [], ["hidden"], value=stored)
    hidden.graph.node.extend([first, helper.make_node("Identity", ["hidden"], ["z"])])
    hidden.graph.node.extend(graph.graph.node)
    assert rules(hidden) == rules(graph) == ["R03", "R03"]


def test_functions_and_the_bodies_of_branches_are_looked_into() -> None:
    body = helper.make_graph(
        [node("Det", "x", "inner")],
        "then",
        [],
        [helper.make_tensor_value_info("inner", FLOAT, None)],
    )
    graph = model(
        [node("If", "flag", "y", then_branch=body, else_branch=body)],
        inputs={"x": (FLOAT, ["n", 4, 4]), "flag": (TensorProto.BOOL, [])},
    )
    assert rules(graph) == ["R01", "R01"]
    function = helper.make_function(
        "own", "F", ["a"], ["b"], [node("Det", "a", "b")], [helper.make_opsetid("", 17)]
    )
    calling = model([helper.make_node("F", ["x"], ["y"], domain="own")], domains=["own"])
    calling.functions.append(function)
    assert rules(calling) == ["R01"]


def test_a_broken_graph_is_refused_with_every_node_and_what_to_do() -> None:
    with pytest.raises(EngineError) as caught:
        require_ready(quantised(z=np.uint8(0)), "10.3", "int8.onnx")
    assert str(caught.value).splitlines() == [
        "int8.onnx is not ready for TensorRT 10.3, it breaks 2 rules:",
        *(
            f"  R03 {name}-node: UINT8, which TensorRT reads as INT8; quantise to signed INT8; a "
            "UINT8 grid with zero point 0 becomes one by scale * 255 / 127"
            for name in ("d_q", "d")
        ),
    ]


def test_warnings_are_told_and_do_no_harm(capsys: pytest.CaptureFixture[str]) -> None:
    require_ready(residual(both=True), "10.3", "int8.onnx")
    told = capsys.readouterr().err
    assert told.startswith("int8.onnx: W02 y-node: quantised behind c-node; quantise the shortcut")
    require_ready(quantised(), "10.3", "int8.onnx")
    assert capsys.readouterr().err == ""
