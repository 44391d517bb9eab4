"""Networks: shapes, input, channel plans and the deployed form."""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass, field

import pytest
import torch
import tyro
from torch import Tensor, nn

from runtime.builtin_schemas import cn_plate
from runtime.errors import CheckpointError, ConfigError
from runtime.preprocess import InputSpec
from runtime.schema import Head, HeadKind, Schema
from tests.slimming import SCHEMA, SPEC, random_crops, tiny_config, tiny_network
from train.backbones import BACKBONES
from train.cost import CostModel, count_macs, count_parameters
from train.network import (
    Channels,
    DeployedNetwork,
    Network,
    NetworkConfig,
    build,
    channel_plan,
)

pytestmark = pytest.mark.usefixtures("one_thread")

PHOTO = Schema(
    name="photo",
    heads=(Head(name="tags", kind=HeadKind.LABELS, labels=("a", "b", "c", "d")),),
)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"backbone": "vgg"}, r"backbone 'vgg' is unknown; use one of \['resnet18', .*timm:NAME"),
        ({"backbone": "a b:c"}, "backbone 'a b:c' is unknown"),
        ({"sizes": {"depth": 2}}, r"resnet18: it has no size 'depth'. Its sizes .* width=64 "),
        ({"sizes": {"width": 48.0}}, "width must be a whole number >= 8, got 48.0. Its sizes"),
        ({"pool": "max"}, "pool must be one of"),
        ({"std": 0.0}, "std > 0"),
        ({"std": float("nan")}, "std > 0"),
    ],
)
def test_a_config_that_cannot_work_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NetworkConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", BACKBONES)
def test_a_config_comes_back_from_json_with_all_sizes(name: str) -> None:
    config = NetworkConfig(backbone=name, sizes={"stem_stride": 1}, pool="global")
    stored = json.loads(json.dumps(config.to_object()))
    assert set(stored["sizes"]) == {f.name for f in dataclasses.fields(BACKBONES[name].config)}
    assert NetworkConfig.from_object(stored) == config
    assert hash(NetworkConfig.from_object(stored)) == hash(config)


def test_giving_a_default_is_giving_nothing() -> None:
    assert NetworkConfig(sizes={"width": 64}) == NetworkConfig()
    assert NetworkConfig(sizes={"width": 48}) != NetworkConfig()


def test_sizes_of_one_backbone_are_not_carried_over_to_another() -> None:
    config = dataclasses.replace(tiny_config(), backbone="mixnet")
    assert config.sizes == NetworkConfig(backbone="mixnet").sizes
    # A plain mapping is what somebody asked for.
    with pytest.raises(ConfigError, match="mixnet: it has no size 'width'"):
        NetworkConfig(backbone="mixnet", sizes={"width": 8})


@pytest.mark.parametrize(
    "change",
    [
        {"depth": 3},
        {"sizes": {"width": 8}},
        {"sizes": {**tiny_config().to_object()["sizes"], "width": True}},
        {"sizes": {**tiny_config().to_object()["sizes"], "last_stride": [2, 1.0]}},
        {"sizes": {**tiny_config().to_object()["sizes"], "width": None}},
        {"sizes": []},
        {"std": "64"},
        {"mean": "dark"},
        {"mean": None},
        {"mean": True},
    ],
)
def test_a_config_of_other_keys_or_types_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(CheckpointError, match="network config"):
        NetworkConfig.from_object({**json.loads(json.dumps(tiny_config().to_object())), **change})


def test_a_size_that_came_later_has_its_default() -> None:
    stored = tiny_config().to_object()
    assert stored["sizes"].pop("fourth_stride") == [2, 2]
    assert NetworkConfig.from_object(json.loads(json.dumps(stored))) == tiny_config()


@dataclass(frozen=True, kw_only=True)
class Options:
    network: NetworkConfig = field(default_factory=tiny_config)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], tiny_config()),
        (["--network", "mixnet"], NetworkConfig(backbone="mixnet")),
        (
            ["--network.sizes", "width=48", "last_stride=2,2", "--network.pool", "global"],
            NetworkConfig(sizes={"width": 48, "last_stride": (2, 2)}, pool="global"),
        ),
        (
            ["--network", "mobilenet_v3_small", "--network.sizes", "multiplier=0.5"],
            NetworkConfig(backbone="mobilenet_v3_small", sizes={"multiplier": 0.5}),
        ),
        (["--network.sizes"], NetworkConfig()),
        (["--network", "a.b:c"], NetworkConfig(backbone="a.b:c")),
    ],
)
def test_the_command_line(words: list[str], expected: NetworkConfig) -> None:
    assert tyro.cli(Options, args=words).network == expected


@pytest.mark.parametrize("word", ["width", "width=", "=8", "width=8 width=9"])
def test_words_that_are_no_sizes_are_wrong_usage(word: str) -> None:
    with pytest.raises(SystemExit) as stop:
        tyro.cli(Options, args=["--network.sizes", *word.split()])
    assert stop.value.code == 2


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


def halved(network: Network) -> dict[str, Channels]:
    """Half of every inner channel; three inputs and the labels stay."""
    plan = {}
    for name, (inputs, outputs, _) in channel_plan(network).items():
        last = name.startswith("heads.")
        plan[name] = Channels(
            inputs if inputs == 3 else inputs // 2, outputs if last else outputs // 2
        )
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
        build(SCHEMA, SPEC, tiny_config(), {**plan, "backbone.tail": Channels(1, 1)})


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        (Channels(0, 16), "has 0 inputs"),
        (Channels(3, 0), "has 3 inputs, 0 outputs"),
        (Channels(-3, 16), "has -3 inputs"),
        (Channels(3, 16, 0), "backbone.stem.0"),
        (Channels(4, 16, 2), "has 2 groups for 4 inputs and 16 outputs; .* at most 1"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(channels: Channels, message: str) -> None:
    plan = channel_plan(build(SCHEMA, SPEC, tiny_config()))
    with pytest.raises(CheckpointError, match=message):
        build(SCHEMA, SPEC, tiny_config(), {**plan, "backbone.stem.0": channels})


class Grouped(nn.Module):
    """A grouped, a depthwise and a dilated convolution, and layers that only look like torch's."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, 2, 2, dilation=2, padding_mode="replicate")
        self.grouped = nn.Conv2d(16, 16, 3, 2, 1, groups=4, bias=False)
        self.depthwise = nn.Conv2d(16, 16, 3, 2, 1, groups=16)
        self.special = SpecialNorm(16)

    def forward(self, image: Tensor) -> Tensor:
        return self.special(self.depthwise(self.grouped(self.first(image))))


class SpecialNorm(nn.BatchNorm2d):
    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features).relu()


OWN = NetworkConfig(backbone=f"{__name__}:Grouped")


def slimmer(grouped: Channels, special: int) -> dict[str, Channels]:
    plan = channel_plan(build(SCHEMA, SPEC, OWN))
    new = {"first": Channels(3, 8), "grouped": grouped, "depthwise": Channels(8, 8, 8)}
    heads = {n: Channels(c.inputs // 2, c.outputs) for n, c in plan.items() if "heads" in n}
    backbone = {f"backbone.{name}": channels for name, channels in new.items()}
    return {**plan, **backbone, **heads, "backbone.special": Channels(special, special)}


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_groups_are_rebuilt_as_the_plan_says(groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight of sixteen channels are left: of two groups of four, of four of two, or of one."""
    plan = slimmer(Channels(8, 8, groups), special=8)
    monkeypatch.setattr(sys.modules[__name__], "SpecialNorm", nn.BatchNorm2d)
    network = build(SCHEMA, SPEC, OWN, plan)
    assert channel_plan(network) == plan
    costs = CostModel.of(build(SCHEMA, SPEC, OWN), SPEC)
    assert costs.parameters(plan) == count_parameters(network)
    assert costs.macs(plan) == count_macs(network, SPEC)
    assert network.get_submodule("backbone.grouped").weight.shape == (8, 8 // groups, 3, 3)
    assert network.get_submodule("backbone.depthwise").weight.shape == (8, 1, 3, 3)
    first = network.get_submodule("backbone.first")
    assert isinstance(first, nn.Conv2d)
    assert (first.dilation, first.padding_mode) == ((2, 2), "replicate")
    assert network(random_crops(2))["side"].shape == (2, 2)


def test_groups_that_do_not_divide_are_refused() -> None:
    with pytest.raises(CheckpointError, match="grouped has 3 groups for 8 inputs"):
        build(SCHEMA, SPEC, OWN, slimmer(Channels(8, 8, 3), special=16))


def test_layers_that_may_do_more_than_torchs_are_not_replaced() -> None:
    full = build(SCHEMA, SPEC, OWN, channel_plan(build(SCHEMA, SPEC, OWN)))
    assert type(full.get_submodule("backbone.special")) is SpecialNorm
    with pytest.raises(CheckpointError, match=r"backbone.special is a SpecialNorm; only nn.Conv2d"):
        build(SCHEMA, SPEC, OWN, slimmer(Channels(8, 8, 4), special=8))
