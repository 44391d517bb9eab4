"""What every backbone must do: keep its shapes, take its sizes, train, slim, and run in engines."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from compress.slim.groups import find_groups
from compress.slim.surgery import mask_channels, remove_channels, shrunk_plan
from runtime.preprocess import InputSpec
from runtime.session import SessionOptions
from runtime.session_onnx import OnnxSession
from runtime.session_openvino import OpenVinoSession
from tests.engines import require
from tests.slimming import SCHEMA, SPEC, random_crops
from train.backbones import BACKBONES, build_backbone, resolve_sizes
from train.backbones.sizes import Size
from train.cost import CostModel, count_macs, count_parameters
from train.graph import write_graph
from train.network import Network, NetworkConfig, build, channel_plan
from train.scoring import score
from train.tensorrt_form import in_half_precision

from .tiny import TINY, tiny_backbone_network

pytestmark = pytest.mark.usefixtures("one_thread")

COMMON: dict[str, Size] = {"stem_stride": 1, "fourth_stride": (2, 1), "last_stride": (1, 2)}
MOBILE: dict[str, Size] = {"multiplier": 0.6, "stem_width": 64, "last_width": 40}
RESIDUAL: dict[str, Size] = {"width": 16, "last_width": 24, "blocks": (2, 1, 1, 1)}
CHANGES: dict[str, dict[str, Size]] = {
    "resnet18": RESIDUAL,
    "resnet18_v2": RESIDUAL,
    "resnext18": {**RESIDUAL, "groups": 8, "group_width": 4},
    "mixnet": {
        **MOBILE,
        "widths": (64, 24, 40, 80, 120, 200),
        "blocks": (2, 1, 1, 1, 1, 1),
        "expansions": (1, 5, 6, 6, 6, 6),
        "later_expansions": (1, 3, 5, 6, 6, 6),
        "kernels": (3, 5),
        "squeeze": 0.0,
        "pointwise_groups": 2,
        "activation": "silu",
    },
    "mobilenet_v1": {
        "multiplier": 0.6,
        "stem_width": 128,
        "widths": (256, 128, 256, 512, 1024),
        "blocks": (1, 1, 1, 3, 1),
        "kernel": 5,
    },
    "mobilenet_v2": {
        **MOBILE,
        "stem_width": 256,
        "widths": (256, 24, 32, 64, 96, 160, 320),
        "blocks": (1, 1, 1, 2, 1, 1, 1),
        "expansion": 4,
        "kernel": 5,
    },
    "mobilenet_v3_small": {
        **MOBILE,
        "stem_width": 128,
        "last_width": 400,
        "widths": (96, 24, 24, 40, 40, 40, 48, 48, 96, 96, 96),
        "expanded": (96, 72, 88, 96, 240, 240, 120, 144, 288, 576, 576),
        "kernels": (5, 3, 3, 5, 5, 5, 5, 5, 5, 5, 5),
        "squeeze": 0.5,
    },
    "mobilenet_v3_large": {
        **MOBILE,
        "stem_width": 256,
        "last_width": 400,
        "widths": (256, 24, 24, 40, 40, 40, 80, 80, 80, 80, 112, 112, 160, 160, 160),
        "expanded": (256, 64, 72, 72, 120, 120, 240, 200, 184, 184, 480, 672, 672, 960, 960),
        "kernels": (5, 3, 3, 5, 5, 5, 3, 3, 3, 3, 3, 3, 5, 5, 5),
        "squeeze": 0.0,
    },
    "vgg16_bn": {"widths": (8, 8, 8, 16, 24), "blocks": (1, 1, 1, 1, 2)},
}
"""One other value for every size."""
each_backbone = pytest.mark.parametrize("name", BACKBONES)


def halved(size: int, *strides: int) -> int:
    for stride in strides:
        size = -(-size // stride)
    return size


@each_backbone
@pytest.mark.parametrize(
    ("stem", "fourth", "last"),
    [
        (2, (2, 2), (2, 1)),
        (2, (2, 1), (2, 1)),
        (2, (1, 2), (2, 2)),
        (1, (2, 2), (2, 1)),
        (1, (2, 1), (1, 1)),
    ],
    ids=str,
)
@pytest.mark.parametrize(("height", "width"), [(48, 144), (16, 32), (33, 95), (8, 8)])
def test_five_strides_that_round_up(
    name: str,
    stem: int,
    fourth: tuple[int, int],
    last: tuple[int, int],
    height: int,
    width: int,
) -> None:
    strides: dict[str, Size] = {
        "stem_stride": stem,
        "fourth_stride": fourth,
        "last_stride": last,
    }
    sizes = resolve_sizes(name, {**TINY[name], **strides})
    backbone = build_backbone(name, sizes).eval()
    with torch.inference_mode():
        features = backbone(torch.zeros(2, 3, height, width))
    assert features.shape[0] == 2
    assert features.shape[2:] == (
        halved(height, stem, 2, 2, fourth[0], last[0]),
        halved(width, stem, 2, 2, fourth[1], last[1]),
    )


@each_backbone
def test_the_defaults_keep_nine_columns_of_a_plate(name: str) -> None:
    network = tiny_backbone_network(name, spec=InputSpec(height=48, width=144))
    with torch.inference_mode():
        assert network.backbone(torch.zeros(1, 3, 48, 144)).shape[2:] == (2, 9)


@each_backbone
def test_every_size_counts(name: str) -> None:
    changes = {**COMMON, **CHANGES[name]}
    assert set(changes) == {each.name for each in dataclasses.fields(BACKBONES[name].config)}
    tiny = build_backbone(name, resolve_sizes(name, TINY[name]))
    for size, value in changes.items():
        other = build_backbone(name, resolve_sizes(name, {**TINY[name], size: value})).eval()
        assert repr(other) != repr(tiny), size
        with torch.inference_mode():
            assert other(torch.zeros(1, 3, 16, 32)).ndim == 4


@each_backbone
def test_one_training_step_in_bf16_reaches_every_weight(name: str) -> None:
    network = tiny_backbone_network(name).train()
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(random_crops(4))
    loss = sum(torch.nn.functional.cross_entropy(v.float(), v.argmax(1)) for v in logits.values())
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    assert np.isfinite(loss.item())
    for parameter, value in network.named_parameters():
        assert value.grad is not None, parameter
        assert bool(value.grad.isfinite().all()), parameter


@each_backbone
def test_crops_of_a_batch_do_not_mix(name: str) -> None:
    network, crops = tiny_backbone_network(name), random_crops(5).numpy()
    together = score(network, crops)
    for index in range(5):
        for head, alone in score(network, crops[index : index + 1]).items():
            np.testing.assert_allclose(alone[0], together[head][index], rtol=1e-4, atol=1e-4)


@each_backbone
def test_costs_are_exact(name: str) -> None:
    """Against a count from the weights and from the shapes that each layer really gave."""
    network = tiny_backbone_network(name)
    outputs: dict[str, tuple[int, ...]] = {}
    for layer_name, layer in network.named_modules():
        layer.register_forward_hook(
            lambda _, __, output, layer_name=layer_name: outputs.update(
                {layer_name: getattr(output, "shape", ())}
            )
        )
    network(random_crops(1))
    # Every output of a convolution or linear layer takes one filter's weights.
    expected = sum(
        weight[0].numel() * int(np.prod(outputs[key.removesuffix(".weight")]))
        for key, weight in network.named_parameters()
        if key.endswith(".weight") and weight.ndim > 1
    )
    model, plan = CostModel.of(network, SPEC), channel_plan(network)
    assert model.macs(plan) == expected
    assert model.parameters(plan) == count_parameters(network)
    assert model.other == 0


# ---- slimming ---------------------------------------------------------------------------------


@each_backbone
def test_channels_can_be_cut_and_the_plan_rebuilds_it(name: str) -> None:
    network = tiny_backbone_network(name)
    groups, random = find_groups(network, SPEC), np.random.default_rng(0)
    removed = {
        group.name: sorted(random.choice(group.width, group.width // 4, replace=False).tolist())
        for group in groups
    }
    crops = random_crops(4).numpy()
    with mask_channels(network, groups, removed):
        expected = score(network, crops)
    plan, costs = channel_plan(network), CostModel.of(network, SPEC)
    remove_channels(network, groups, removed)
    kept = {group.name: group.width - len(removed[group.name]) for group in groups}
    assert channel_plan(network) == shrunk_plan(plan, groups, kept)
    assert costs.parameters(channel_plan(network)) == count_parameters(network)
    assert costs.macs(channel_plan(network)) == count_macs(network, SPEC)
    config = NetworkConfig(backbone=name, sizes=TINY[name])
    rebuilt = build(SCHEMA, SPEC, config, channel_plan(network))
    rebuilt.load_state_dict(network.state_dict())
    found = score(rebuilt.eval(), crops)
    for head, values in expected.items():
        scale = max(1.0, float(np.abs(values).max()))
        np.testing.assert_allclose(found[head], values, rtol=0, atol=1e-5 * scale)


# ---- engines ----------------------------------------------------------------------------------


ENGINE_SPEC = InputSpec(height=24, width=40)
"""OpenVINO takes no max-pool that is larger than its input, as VGG's last is below 17 rows."""


# An export takes seconds: test_graph has ResNet-18; MobileNet v3 large is made of small's parts.
@pytest.fixture(scope="module", params=sorted(set(BACKBONES) - {"resnet18", "mobilenet_v3_large"}))
def exported(
    request: pytest.FixtureRequest, one_thread: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Network, Path]:
    network = tiny_backbone_network(request.param, spec=ENGINE_SPEC)
    path = tmp_path_factory.mktemp("graphs") / f"{request.param}.onnx"
    write_graph(network, SCHEMA, ENGINE_SPEC, path)
    return network, path


def test_the_graph_has_standard_operators_only(exported: tuple[Network, Path]) -> None:
    model = onnx.load(exported[1])
    assert [entry.domain for entry in model.opset_import] == [""]
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}


def test_the_graph_does_nothing_in_vain(exported: tuple[Network, Path]) -> None:
    nodes = onnx.load(exported[1]).graph.node
    kinds = Counter(node.op_type for node in nodes)
    assert not kinds.keys() & {"Identity", "Dropout", "Constant", "Shape", "Expand"}
    # The crop's bytes become channels first, then floats; nothing changes layout or type again.
    assert kinds["Cast"] == kinds["Transpose"] == 1
    assert {node.op_type for node in nodes[:2]} == {"Cast", "Transpose"}


def test_the_graph_holds_nothing_that_no_node_reads(exported: tuple[Network, Path]) -> None:
    graph = onnx.load(exported[1]).graph
    read = {name for node in graph.node for name in node.input}
    assert {entry.name for entry in graph.initializer} <= read
    written = {name for node in graph.node for name in node.output}
    assert {entry.name for entry in graph.value_info} <= read | written


def test_the_graph_computes_as_well_in_half_precision(
    exported: tuple[Network, Path], tmp_path: Path
) -> None:
    network, path = exported
    half = in_half_precision(onnx.load(path))
    onnx.checker.check_model(half, full_check=True)
    onnx.save(half, tmp_path / "half.onnx")
    session = OnnxSession(tmp_path / "half.onnx", SCHEMA, ENGINE_SPEC, SessionOptions())
    crops = np.random.default_rng(7).integers(0, 256, (2, 24, 40, 3)).astype(np.uint8)
    found, expected = session.run(crops), score(network, crops)
    for head, values in expected.items():
        scale = max(1.0, float(np.abs(values).max()))
        np.testing.assert_allclose(found[head], values, rtol=0, atol=2e-2 * scale)
    session.close()


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("count", [1, 3])
def test_engines_compute_what_torch_does(
    exported: tuple[Network, Path], engine: str, count: int
) -> None:
    require(engine)
    network, path = exported
    options = SessionOptions()
    session = (
        OnnxSession(path, SCHEMA, ENGINE_SPEC, options)
        if engine == "onnxruntime"
        else OpenVinoSession(path, SCHEMA, ENGINE_SPEC, options, "fp32")
    )
    crops = np.random.default_rng(7).integers(0, 256, (count, 24, 40, 3)).astype(np.uint8)
    found, expected = session.run(crops), score(network, crops)
    assert list(found) == list(expected)
    for head, values in expected.items():
        scale = max(1.0, float(np.abs(values).max()))
        np.testing.assert_allclose(found[head], values, rtol=0, atol=1e-4 * scale)
    session.close()
