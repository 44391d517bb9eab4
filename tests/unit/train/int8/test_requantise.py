"""Signed quantisers after ReLU become unsigned: the same answers, in the form that fuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.slimming import SPEC
from train.checkpoint import load_checkpoint
from train.data import load_crops
from train.int8.requantise import OUTPUT_STEP, adapt_to, quantise_outputs, unsigned_after_relu

Array = npt.NDArray[np.float32]


def chain(*operators: str, first: str = "Relu", scale: float = 0.02) -> onnx.ModelProto:
    """``first``, ``operators``, then a signed quantiser and back."""
    values = {
        "scale": np.float32(scale),
        "zero": np.zeros((), np.int8),
        "shape": np.array([-1, 4], np.int64),
        "axes": np.array([1], np.int64),
    }
    more = {"Reshape": ["shape"], "ReduceMean": ["axes"]}
    nodes, name = [], "x"
    for index, operator in enumerate((first, *operators)):
        nodes.append(helper.make_node(operator, [name, *more.get(operator, [])], [f"t{index}"]))
        name = f"t{index}"
    nodes.append(helper.make_node("QuantizeLinear", [name, "scale", "zero"], ["q"]))
    nodes.append(helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]))
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b"])],
        [numpy_helper.from_array(np.asarray(values[key]), key) for key in values if key in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def run(model: onnx.ModelProto, **inputs: npt.NDArray[np.generic]) -> list[Array]:
    onnx.checker.check_model(model, full_check=True)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    # Without fusing, so that it is the graph's own arithmetic that is compared.
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    found: list[Array] = onnxruntime.InferenceSession(model.SerializeToString(), settings).run(
        None, inputs
    )
    return found


def activations(model: onnx.ModelProto) -> Iterator[tuple[onnx.NodeProto, np.dtype[np.generic]]]:
    """Every quantiser of an activation, with the type of its zero point."""
    values = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and node.input[0] not in values:
            yield node, values[node.input[2]].dtype


@pytest.mark.parametrize(
    "operators",
    [(), ("Identity",), ("Reshape",), ("ReduceMean",), ("Flatten", "Transpose"), ("Reshape",) * 3],
)
@pytest.mark.parametrize("first", ["Relu", "Sigmoid"])
def test_what_cannot_be_negative_becomes_unsigned(first: str, operators: tuple[str, ...]) -> None:
    model = chain(*operators, first=first)
    x = np.random.default_rng(0).uniform(-2, 2.5, (64, 4)).astype(np.float32)
    (before,) = run(model, x=x)
    assert unsigned_after_relu(model) == 2
    assert {dtype for _, dtype in activations(model)} == {np.dtype(np.uint8)}
    (after,) = run(model, x=x)
    np.testing.assert_array_equal(after, before)  # within 127 steps of 0.02


def test_values_above_127_steps_are_no_longer_cut() -> None:
    model = chain(scale=0.01)
    x = np.array([[0.5, 1.27, 2.0, 9.0]], np.float32)
    np.testing.assert_allclose(run(model, x=x)[0], [[0.5, 1.27, 1.27, 1.27]], atol=1e-6)
    unsigned_after_relu(model)
    np.testing.assert_allclose(run(model, x=x)[0], [[0.5, 1.27, 2.0, 2.55]], atol=1e-6)


@pytest.mark.parametrize("operators", [("Neg",), ("Log",), ("Neg", "Reshape")])
def test_what_may_be_negative_stays_signed(operators: tuple[str, ...]) -> None:
    model = chain(*operators)
    before = model.SerializeToString()
    assert unsigned_after_relu(model) == 0
    assert model.SerializeToString() == before


def test_without_a_relu_nothing_changes() -> None:
    model = chain(first="Identity")
    assert unsigned_after_relu(model) == 0


def test_once_is_enough() -> None:
    model = chain()
    assert unsigned_after_relu(model) == 2
    assert unsigned_after_relu(model) == 0


# ---- outputs that the decisions leave in float -------------------------------------------------


def noted(step: float = 0.5) -> onnx.ModelProto:
    """A product that carries a note; its value is read by the next node and put out."""
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["square"], name="layer"),
        helper.make_node("Neg", ["square"], ["y"], name="reader"),
    ]
    nodes[0].metadata_props.add(key=OUTPUT_STEP, value=repr(step))
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 4]) for n in ("x", "y")]
    graph = helper.make_graph(nodes, "noted", ports[:1], ports[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def test_noted_outputs_are_rounded_by_their_step() -> None:
    model = noted()
    x = np.array([[0.1, 1.0, 1.3, 100.0]], np.float32)
    assert quantise_outputs(model) == 1
    (found,) = run(model, x=x)
    np.testing.assert_allclose(found, [[-0.0, -1.0, -1.5, -63.5]])  # 0.01, 1, 1.69, cut at 127
    assert [node.op_type for node in model.graph.node] == [
        "Mul", "QuantizeLinear", "DequantizeLinear", "Neg"
    ]  # fmt: skip
    assert quantise_outputs(model) == 0


def test_only_onnx_runtime_needs_that() -> None:
    for engine, nodes in (("onnxruntime", 4), ("openvino", 2)):
        model = noted()
        adapt_to(engine, model)
        assert len(model.graph.node) == nodes


def test_a_float_graph_stays_as_it_is() -> None:
    model = noted()
    del model.graph.node[0].metadata_props[:]
    before = model.SerializeToString()
    adapt_to("onnxruntime", model)
    assert model.SerializeToString() == before


def test_a_whole_network(lamps_int8: Path, lamps: Path) -> None:
    checkpoint = load_checkpoint(lamps_int8)
    model = onnx.load(checkpoint.graph)
    signed = onnx.load(checkpoint.graph)
    changed = unsigned_after_relu(model)
    made = {output: node for node in model.graph.node for output in node.output}
    after_relu = 0
    for node, dtype in activations(model):
        source = made[node.input[0]].op_type if node.input[0] in made else ""
        if source == "Relu":
            after_relu += 1
            assert dtype == np.uint8
    # The stem and two in each of eight blocks, but the last, which is averaged in float.
    assert after_relu == 16
    kinds = [dtype for _, dtype in activations(model)]
    assert kinds.count(np.dtype(np.uint8)) == changed
    assert kinds.count(np.dtype(np.int8)) > 0  # the input
    # On what it was calibrated on, hardly a value was cut: the scores stay.
    crops = load_crops([lamps / "train"], checkpoint.schema, SPEC)
    images = crops.images_at(np.arange(64))
    for found, expected in zip(run(model, image=images), run(signed, image=images), strict=True):
        assert (found.argmax(1) == expected.argmax(1)).all()
        assert np.abs(found - expected).mean() <= 0.05 * np.abs(expected).max()
    # In ONNX Runtime all convolutions run in INT8 if all outputs are quantised.
    assert quantise_outputs(signed) == 8  # one per residual addition
    readers = {name: node for node in signed.graph.node for name in node.input}
    for node in signed.graph.node:
        if node.op_type == "Conv":
            reader = readers[node.output[0]]
            reader = readers[reader.output[0]] if reader.op_type == "Relu" else reader
            assert reader.op_type == "QuantizeLinear"
