"""Networks: shapes, input, channel plans and the deployed form."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from runtime.builtin_schemas import cn_plate
from runtime.errors import CheckpointError, ConfigError
from runtime.preprocess import InputSpec
from runtime.schema import Head, HeadKind, Schema
from tests.slimming import SCHEMA, SPEC, random_crops, tiny_config, tiny_network
from train.backbones.resnet18 import ResNet18, ResNet18Config
from train.network import DeployedNetwork, Network, NetworkConfig, build, channel_plan

PHOTO = Schema(
    name="photo",
    heads=(Head(name="tags", kind=HeadKind.LABELS, labels=("a", "b", "c", "d")),),
)


@pytest.mark.parametrize(
    ("stem", "last", "height", "width", "expected"),
    [
        (2, (2, 2), 48, 144, (2, 5)),
        (2, (2, 1), 48, 144, (2, 9)),
        (2, (1, 1), 32, 96, (2, 6)),
        (1, (2, 2), 32, 96, (2, 6)),
        (1, (2, 1), 48, 144, (3, 18)),
        (2, (2, 2), 8, 8, (1, 1)),
        (2, (2, 1), 33, 95, (2, 6)),
    ],
)
def test_sizes_of_the_feature_map(
    stem: int, last: tuple[int, int], height: int, width: int, expected: tuple[int, int]
) -> None:
    config = ResNet18Config(width=8, last_width=24, stem_stride=stem, last_stride=last)
    backbone = ResNet18(config).eval()
    with torch.inference_mode():
        features = backbone(torch.zeros(2, 3, height, width))
    assert backbone.out_channels == 24
    assert features.shape == (2, 24, *expected)
    assert features.min() >= 0


def test_it_is_a_resnet_18() -> None:
    """17 convolutions and one classifier (He et al., table 1), 3 projections; known size."""
    backbone = ResNet18(ResNet18Config())
    kernels = [p for p in backbone.parameters() if p.ndim == 4]
    assert sum(p.shape[-1] == 3 for p in kernels) == 17
    assert sum(p.shape[-1] == 1 for p in kernels) == 3
    # torchvision's resnet18 has 11,176,512 parameters before its classifier; the stem differs.
    assert sum(p.numel() for p in backbone.parameters()) == 11_176_512 - 64 * 3 * (49 - 9)


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 4},
        {"last_width": 0},
        {"stem_stride": 3},
        {"last_stride": (2, 4)},
        {"last_stride": (2,)},
    ],
)
def test_sizes_that_cannot_work_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="widths must be >= 8 and strides 1 or 2"):
        ResNet18Config(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"backbone": "vgg"}, r"backbone 'vgg' is unknown; use \['resnet18'\]"),
        ({"pool": "max"}, "pool must be one of"),
        ({"std": 0.0}, "std > 0"),
        ({"std": float("nan")}, "std > 0"),
    ],
)
def test_a_config_that_cannot_work_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NetworkConfig(**wrong)  # type: ignore[arg-type]


def test_a_config_comes_back_from_json() -> None:
    config = tiny_config("global", 24)
    assert NetworkConfig.from_object(json.loads(json.dumps(config.to_object()))) == config


@pytest.mark.parametrize(
    "change",
    [
        {"depth": 3},
        {"resnet18": {"width": 8}},
        {"resnet18": {**dataclasses.asdict(ResNet18Config()), "last_stride": [2, 2], "extra": 1}},
        {"std": "64"},
        {"mean": "dark"},
        {"mean": None},
        {"mean": True},
    ],
)
def test_a_config_of_other_keys_or_types_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(CheckpointError, match="network config"):
        NetworkConfig.from_object({**json.loads(json.dumps(tiny_config().to_object())), **change})


@pytest.mark.parametrize("pool", ["columns", "global"])
def test_logits_of_every_head_in_order(pool: str) -> None:
    schema = cn_plate()
    network = build(schema, InputSpec(height=32, width=96), tiny_config(pool)).eval()
    with torch.inference_mode():
        logits = network(torch.zeros(3, 32, 96, 3, dtype=torch.uint8))
    assert list(logits) == [head.name for head in schema.heads]
    assert [tuple(v.shape) for v in logits.values()] == [(3, head.size) for head in schema.heads]


def test_one_labels_head_for_photos() -> None:
    network = build(PHOTO, InputSpec(height=40, width=40), tiny_config("global")).eval()
    with torch.inference_mode():
        logits = network(torch.zeros(2, 40, 40, 3, dtype=torch.uint8))
    assert {name: tuple(value.shape) for name, value in logits.items()} == {"tags": (2, 4)}


def test_pixels_are_normalised_as_the_config_says() -> None:
    network = tiny_network().eval()
    seen = []
    network.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    image = random_crops(1)
    with torch.inference_mode():
        network(image)
    expected = (image.permute(0, 3, 1, 2).float() - 127.5) / 64
    assert torch.equal(seen[0], expected)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


def test_batches_do_not_mix() -> None:
    network, crops = tiny_network(), random_crops(6)
    with torch.inference_mode():
        together = network(crops)
        for index in range(6):
            alone = network(crops[index : index + 1])
            for name, value in alone.items():
                torch.testing.assert_close(value[0], together[name][index], rtol=1e-4, atol=1e-4)


def test_the_deployed_form_gives_the_same_logits() -> None:
    network, crops = tiny_network(), random_crops(5)
    deployed = DeployedNetwork(network).eval()
    with torch.inference_mode():
        expected = network(crops)
        found = deployed(crops)
    for value, wanted in zip(found, expected.values(), strict=True):
        torch.testing.assert_close(value, wanted, rtol=0, atol=1e-6 * float(wanted.abs().max()))


# ---- channel plans ----------------------------------------------------------------------------


def halved(network: Network) -> dict[str, tuple[int, int]]:
    """Half of every inner channel; three inputs and the labels stay."""
    plan = {}
    for name, (inputs, outputs) in channel_plan(network).items():
        last = name.startswith("heads.")
        plan[name] = (inputs if inputs == 3 else inputs // 2, outputs if last else outputs // 2)
    return plan


@pytest.mark.parametrize("pool", ["columns", "global"])
def test_a_slimmed_network_is_rebuilt_from_its_plan(pool: str) -> None:
    config = tiny_config(pool)
    plan = halved(build(SCHEMA, SPEC, config))
    slim = build(SCHEMA, SPEC, config, plan)
    assert channel_plan(slim) == plan
    again = build(SCHEMA, SPEC, config, channel_plan(slim))
    again.load_state_dict(slim.state_dict())
    with torch.inference_mode():
        first, second = slim.eval()(random_crops(3)), again.eval()(random_crops(3))
    for name, value in first.items():
        assert torch.equal(value, second[name])


def test_a_plan_with_full_widths_changes_nothing() -> None:
    network = tiny_network()
    again = build(SCHEMA, SPEC, tiny_config(), channel_plan(network))
    again.load_state_dict(network.state_dict())
    with torch.inference_mode():
        first, second = network(random_crops(3)), again.eval()(random_crops(3))
    for name, value in first.items():
        assert torch.equal(value, second[name])


def test_a_plan_of_another_network_is_refused() -> None:
    plan = channel_plan(build(SCHEMA, SPEC, tiny_config()))
    missing = {name: size for name, size in plan.items() if name != "backbone.stem.0"}
    with pytest.raises(CheckpointError, match=r"layers that differ: \['backbone.stem.0'\]"):
        build(SCHEMA, SPEC, tiny_config(), missing)
    with pytest.raises(CheckpointError, match=r"layers that differ: \['backbone.tail'\]"):
        build(SCHEMA, SPEC, tiny_config(), {**plan, "backbone.tail": (1, 1)})


@pytest.mark.parametrize("size", [(0, 16), (3, 0), (-3, 16)])
def test_a_plan_without_channels_is_refused(size: tuple[int, ...]) -> None:
    plan = channel_plan(build(SCHEMA, SPEC, tiny_config()))
    with pytest.raises(CheckpointError, match=r"backbone.stem.0"):
        build(SCHEMA, SPEC, tiny_config(), {**plan, "backbone.stem.0": size})  # type: ignore[dict-item]
