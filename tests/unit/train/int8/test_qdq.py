"""Where quantisers stand and what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from torch import nn

from runtime.errors import EngineError
from tests.slimming import SCHEMA, SPEC, random_crops
from train.graph import write_graph
from train.int8.placement import STEPS, Layer, find_layers
from train.int8.qdq import place, weight_steps
from train.int8.ranges import activation_steps
from train.int8.requantise import OUTPUT_STEP
from train.network import NetworkConfig, build

pytestmark = pytest.mark.usefixtures("one_thread")

Array = npt.NDArray[np.float32]


def float_graph(backbone: str, pool: str, folder: Path, **sizes: object) -> Any:
    torch.manual_seed(0)
    config = NetworkConfig(backbone=backbone, pool=pool, sizes=sizes)  # type: ignore[arg-type]
    network = build(SCHEMA, SPEC, config).eval()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.bias, std=0.3)  # else folding leaves no biases
    write_graph(network, SCHEMA, SPEC, folder / "float.onnx")
    return onnx.load(folder / "float.onnx")


@pytest.fixture(scope="module")
def resnet(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("resnet")
    return float_graph("resnet18", "attention", folder, width=8, last_width=16, blocks=(1,) * 4)


@pytest.fixture(scope="module")
def mobilenet(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("mobilenet")
    return float_graph("mobilenet_v3_small", "columns", folder, multiplier=0.25)


@pytest.fixture(params=["resnet", "mobilenet"])
def graph(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def steps_of(model: Any, layers: Sequence[Layer]) -> dict[str, float]:
    tensors = [tensor for layer in layers for tensor in layer.tensors]
    return activation_steps(model, tensors, random_crops(8).numpy())


def run(model: Any, images: npt.NDArray[np.uint8]) -> list[Array]:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 3
    # The graph's own arithmetic: ONNX Runtime would round biases to integers.
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings)
    found: list[Array] = session.run(None, {"image": images})
    return found


def makers(model: Any) -> dict[str, Any]:
    return {output: node for node in model.graph.node for output in node.output}


def constants(model: Any) -> dict[str, Any]:
    return {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}


def source(model: Any, name: str) -> Any:
    """The node that a value comes from, past operators that only move values."""
    made = makers(model)
    while name in made and made[name].op_type in ("MaxPool", "Reshape", "Transpose", "Gather"):
        name = made[name].input[0]
    return made.get(name)


# ---- what TensorRT asks for -------------------------------------------------------------------


def test_every_quantiser_is_symmetric_signed_and_has_the_right_number_of_steps(graph: Any) -> None:
    layers = find_layers(graph)
    model = place(graph, layers, steps_of(graph, layers))
    onnx.checker.check_model(model, full_check=True)
    values, readers = constants(model), {}
    for node in model.graph.node:
        readers.update(dict.fromkeys(node.input, node))
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        step, zero = values[node.input[1]], values[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()
        assert (step > 0).all()
        if node.input[0] in values:  # a weight: one step per output channel
            (axis,) = [a.i for a in node.attribute if a.name == "axis"]
            assert step.shape == (values[node.input[0]].shape[axis],)
            assert readers[node.output[0]].name in [layer.name for layer in layers]
        else:
            assert step.shape == ()


def test_layers_read_quantised_inputs_and_weights_and_keep_float_biases(graph: Any) -> None:
    layers = find_layers(graph)
    model = place(graph, layers, steps_of(graph, layers))
    values = constants(model)
    nodes = {node.name: node for node in model.graph.node}
    for layer in layers:
        node = nodes[layer.name]
        assert source(model, node.input[0]).op_type == "DequantizeLinear"
        assert source(model, node.input[1]).op_type == "DequantizeLinear"
        assert all(values[name].dtype == np.float32 for name in node.input[2:])


def test_of_a_residual_addition_only_the_shortcut_is_quantised(resnet: Any) -> None:
    layers = find_layers(resnet)
    model = place(resnet, layers, steps_of(resnet, layers))
    additions = [node for node in model.graph.node if node.name.endswith("/Add")]
    residual = [node for node in additions if "stages" in node.name]
    assert len(residual) == 4
    for node in residual:
        kinds = [source(model, name).op_type for name in node.input]
        assert kinds == ["Conv", "DequantizeLinear"]
        # The branch is what the block's second convolution puts out.
        assert source(model, node.input[0]).name == node.name.replace("/Add", ".conv2")


def test_nothing_stands_between_a_layer_and_its_relu(graph: Any) -> None:
    layers = find_layers(graph)
    model = place(graph, layers, steps_of(graph, layers))
    made = makers(model)
    for node in model.graph.node:
        if node.op_type == "Relu":
            assert made[node.input[0]].op_type != "DequantizeLinear"


def test_squeeze_and_excite_stays_in_float(mobilenet: Any) -> None:
    names = [layer.name for layer in find_layers(mobilenet)]
    assert "backbone.blocks.0.spatial.0" in names
    assert not [name for name in names if "squeeze" in name]
    assert names[-1] == "heads.linear"  # both heads read the same and are one layer


def test_one_pair_serves_all_readers_of_a_tensor(resnet: Any) -> None:
    layers = find_layers(resnet)
    model = place(resnet, layers, steps_of(resnet, layers))
    quantised = [n.input[0] for n in model.graph.node if n.op_type == "QuantizeLinear"]
    assert len(set(quantised)) == len(quantised)
    # The input of a stage feeds its first convolution and that of its shortcut.
    inputs = {layer.name: layer.input for layer in layers}
    stage = "backbone.stages.1.0"
    assert inputs[f"{stage}.conv1"] == inputs[f"{stage}.shortcut.0"] != inputs[f"{stage}.conv2"]


def test_outputs_that_stay_in_float_carry_their_step(resnet: Any) -> None:
    layers = find_layers(resnet)
    steps = steps_of(resnet, layers)
    model = place(resnet, layers, steps)
    noted = {
        node.output[0]: float(note.value)
        for node in model.graph.node
        for note in node.metadata_props
        if note.key == OUTPUT_STEP
    }
    branches = {layer.output for layer in layers if layer.addition}
    assert branches <= set(noted)
    assert all(noted[name] == steps[name] for name in noted)
    assert not {"colour", "side"} & set(noted)  # logits are not rounded


# ---- any subset -------------------------------------------------------------------------------


def test_no_layer_is_the_float_graph(graph: Any) -> None:
    images = random_crops(3).numpy()
    for found, expected in zip(run(place(graph, [], {}), images), run(graph, images), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_layer_alone_leaves_all_others_as_they_are(resnet: Any) -> None:
    layers = find_layers(resnet)
    steps = steps_of(resnet, layers)
    for layer in (layers[0], layers[1], layers[-1]):  # max-pool behind, shared input, a head
        model = place(resnet, [layer], steps)
        onnx.checker.check_model(model, full_check=True)
        weights = [n for n in model.graph.node if n.input[0].endswith("/int8")]
        assert [node.op_type for node in weights].count("DequantizeLinear") == 1
        quantisers = [n.input[0] for n in model.graph.node if n.op_type == "QuantizeLinear"]
        assert quantisers == [layer.input]


def test_the_float_graph_stays_as_it_was(resnet: Any) -> None:
    before = resnet.SerializeToString()
    layers = find_layers(resnet)
    place(resnet, layers, steps_of(resnet, layers))
    assert resnet.SerializeToString() == before


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf"), None])
def test_a_range_that_cannot_be_used_is_refused(resnet: Any, wrong: float | None) -> None:
    layers = find_layers(resnet)[:1]
    steps = (
        {layers[0].output: 1.0}
        if wrong is None
        else {layers[0].input: wrong, layers[0].output: 1.0}
    )
    with pytest.raises(EngineError, match=r"no usable range for the activations \['div'\]"):
        place(resnet, layers, steps)


# ---- steps ------------------------------------------------------------------------------------


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 1), st.integers(0, 2**32 - 1))
def test_weights_use_the_whole_range_of_their_channel(
    outputs: int, inputs: int, axis: int, seed: int
) -> None:
    shape = (outputs, inputs) if axis == 0 else (inputs, outputs)
    weight = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    steps = weight_steps(weight, axis)
    assert steps.shape == (outputs,)
    rows = weight if axis == 0 else weight.T
    np.testing.assert_allclose(np.abs(rows).max(1) / steps, STEPS, rtol=1e-6)


def test_a_channel_of_zeros_has_a_step() -> None:
    assert weight_steps(np.zeros((2, 3), np.float32), 0).tolist() == [1, 1]


def test_ranges_hold_nine_crops_of_ten(resnet: Any) -> None:
    # The largest value of crop k is that of the pixel 128 + k; 41 crops are more than one batch.
    images = np.stack([np.full(SPEC.shape, 128 + k, np.uint8) for k in range(41)])
    steps = activation_steps(resnet, ["div"], images[::-1].copy())
    assert steps == {"div": pytest.approx((128 + 36 - 127.5) / 64 / 127, rel=1e-6)}


def test_a_tensor_of_zeros_has_a_step(resnet: Any) -> None:
    images = np.zeros((2, *SPEC.shape), np.uint8)
    assert activation_steps(resnet, ["_to_copy"], images) == {"_to_copy": 1 / 127}


def test_rounding_is_that_of_the_definition(resnet: Any) -> None:
    """One layer alone: its input and weight are on their grids, the rest is float arithmetic."""
    layer = find_layers(resnet)[0]
    steps = steps_of(resnet, [layer])
    model = place(resnet, [layer], steps)
    info = onnx.helper.make_tensor_value_info(layer.output, onnx.TensorProto.FLOAT, None)
    model.graph.output.append(info)
    images = random_crops(2, seed=5).numpy()
    found = run(model, images)[-1]
    values, node = constants(resnet), next(n for n in resnet.graph.node if n.name == layer.name)
    step = np.float32(steps["div"])
    pixels = (images.transpose(0, 3, 1, 2).astype(np.float32) - np.float32(127.5)) / np.float32(64)
    rounded = np.clip(np.rint(pixels / step), -128, 127) * step
    weight = values[node.input[1]]
    each = (np.abs(weight).max((1, 2, 3), keepdims=True) / 127).astype(np.float32)
    layer_in_torch = torch.nn.functional.conv2d(
        torch.from_numpy(rounded.astype(np.float32)),
        torch.from_numpy((np.rint(weight / each) * each).astype(np.float32)),
        torch.from_numpy(values[node.input[2]].copy()),
        stride=tuple(next(a.ints for a in node.attribute if a.name == "strides")),
        padding=1,
    )
    np.testing.assert_allclose(found, layer_in_torch.relu().numpy(), atol=1e-4)
