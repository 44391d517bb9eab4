"""Which channels are found to belong together, in networks of ours and of others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress.slim.groups import find_groups
from compress.slim.surgery import ChannelGroup, remove_channels, surgery_error
from runtime.errors import ConfigError
from tests.slimming import SCHEMA, SPEC, random_crops, tiny_network
from tests.unit.train.backbones.tiny import tiny_backbone_network
from train.network import Network, NetworkConfig, build


def by_name(network: Network) -> dict[str, ChannelGroup]:
    return {group.name: group for group in find_groups(network, SPEC)}


def own(factory: str) -> Network:
    """A network of somebody else's, whose BatchNorms have been trained a little."""
    torch.manual_seed(0)
    config = NetworkConfig(backbone=f"{__name__}:{factory}", pool="global")
    network = build(SCHEMA, SPEC, config)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.affine:
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.2)
    for linear in network.heads.layers().values():
        nn.init.normal_(linear.weight)
    return network.eval()


# ---- backbones of ours ------------------------------------------------------------------------


def test_a_residual_stage_is_one_group() -> None:
    groups = by_name(tiny_network())
    stage = groups["backbone.stages.1.0.conv2"]
    assert list(stage.scales) == [
        "backbone.stages.1.0.bn2",
        "backbone.stages.1.0.shortcut.1",
        "backbone.stages.1.1.bn2",
    ]
    assert (stage.width, stage.channels) == (32, 1)
    assert len(groups) == 12  # stem and stage one, three more stages, eight inner convolutions


def test_groups_come_in_the_same_order_every_time() -> None:
    first, second = find_groups(tiny_network(), SPEC), find_groups(tiny_network(seed=1), SPEC)
    for one, other in zip(first, second, strict=True):
        assert (one.name, one.width, list(one.inputs)) == (other.name, other.width, [*other.inputs])
        for name, members in one.outputs.items():
            np.testing.assert_array_equal(other.outputs[name], members)


def test_columns_of_the_feature_map_are_read_channel_by_channel() -> None:
    last = find_groups(tiny_network(), SPEC)[-2]
    members = last.inputs["heads.linear.colour"]
    assert members.tolist() == [[2 * channel, 2 * channel + 1] for channel in range(32)]


def test_whole_groups_leave_resnext() -> None:
    """Four groups of two channels: a unit is what one group reads, computes and puts out."""
    group = by_name(tiny_backbone_network("resnext18"))["backbone.stages.0.0.narrow.0"]
    assert (group.width, group.channels) == (4, 2)
    assert group.grouped == {"backbone.stages.0.0.grouped.0": 1}
    assert list(group.outputs) == ["backbone.stages.0.0.narrow.0", "backbone.stages.0.0.grouped.0"]
    for members in (*group.outputs.values(), *group.norms.values(), *group.inputs.values()):
        assert members.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_every_kernel_of_mixnet_has_its_own_channels() -> None:
    network = tiny_backbone_network("mixnet")
    groups = by_name(network)
    name = "backbone.stages.2.0.expand.0"
    parts = [group for key, group in groups.items() if key.startswith(f"{name}/")]
    layers = [layer[0] for layer in network.get_submodule("backbone.stages.2.0.spatial.parts")]
    assert [group.width for group in parts] == [layer.in_channels for layer in layers]
    channels = np.concatenate([group.outputs[name].flatten() for group in parts])
    assert channels.tolist() == list(range(sum(group.width for group in parts)))
    # Behind the concatenation they stand where they stood before the split.
    project = [group.inputs["backbone.stages.2.0.project.0"] for group in parts]
    np.testing.assert_array_equal(np.concatenate(project).flatten(), channels)


def test_two_large_groups_lose_equally_many() -> None:
    network = tiny_backbone_network("mixnet", pointwise_groups=2)
    layer = network.get_submodule("backbone.stages.1.0.expand.0")
    assert layer.groups == 2
    group = by_name(network)["backbone.stages.1.0.expand.0"]
    half = layer.out_channels // 2
    assert group.outputs["backbone.stages.1.0.expand.0"].tolist() == [
        [place, place + half] for place in range(half)
    ]
    assert "backbone.stages.1.0.expand.0" not in group.grouped


# ---- networks of others -----------------------------------------------------------------------


def block(inputs: int, outputs: int, **more: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, **more), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Dense(nn.Module):
    """Every layer reads all before it, through one BatchNorm over their concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = block(3, 8), block(8, 12)
        self.norm = nn.BatchNorm2d(20)
        self.last = block(20, 16)

    def forward(self, image: Tensor) -> Tensor:
        first = self.first(image)
        both = torch.cat([self.second(first), first], dim=1)
        features: Tensor = self.last(self.norm(both))
        return features


def test_a_concatenation_keeps_track_of_places() -> None:
    groups = by_name(own("Dense"))
    assert list(groups) == ["backbone.first.0", "backbone.second.0", "backbone.last.0"]
    first = groups["backbone.first.0"]
    assert first.norms["backbone.norm"].flatten().tolist() == list(range(12, 20))
    assert first.inputs["backbone.last.0"].flatten().tolist() == list(range(12, 20))


class Halves(nn.Module):
    """Splits at a number that stands in its code."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = block(3, 16), block(8, 8), block(16, 12)

    def forward(self, image: Tensor) -> Tensor:
        left, right = self.first(image).split(8, dim=1)
        features: Tensor = self.last(torch.cat([left, self.second(right)], dim=1))
        return features


class Normalised(nn.Module):
    """Mixes all channels of one layer in a way that no channel can be taken out of."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = block(3, 8), block(8, 12), block(12, 16)
        self.mixing = nn.GroupNorm(1, 12)

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.last(self.mixing(self.middle(self.first(image))))
        return features


class Offset(nn.Module):
    """A number of its own for every channel: taking channels would not fit it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = block(3, 8), block(8, 16)
        self.offset = nn.Parameter(torch.ones(8, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.last(self.first(image) + self.offset)
        return features


class Softplus(nn.Module):
    """An activation that maps 0 to log 2: a silent channel still speaks."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = block(3, 8), block(8, 16)

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.last(nn.functional.softplus(self.first[:2](image)))
        return features


class Twice(nn.Module):
    """One convolution that is used twice has the same channels before and behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.last = block(3, 8), nn.Conv2d(8, 8, 3, padding=1), block(8, 16)

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.last(self.again(self.again(self.first(image))))
        return features


class Linked(nn.Module):
    """Squeeze-and-excite with linear layers, in-place activations, and a slice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = block(3, 8), block(8, 16)
        self.reduce, self.expand = nn.Linear(8, 4), nn.Linear(4, 8)

    def forward(self, image: Tensor) -> Tensor:
        first = self.first[:2](image).relu_()
        weights = self.expand(torch.relu(self.reduce(first.mean((2, 3))))).sigmoid()
        features: Tensor = self.last(first * weights[:, :, None, None])
        return features[:, :, 1:]


@pytest.mark.parametrize(
    ("factory", "prunable"),
    [
        # The second half may shrink: what is split off comes first.
        ("Halves", ["backbone.first.0/2", "backbone.second.0", "backbone.last.0"]),
        ("Normalised", ["backbone.first.0", "backbone.last.0"]),
        ("Offset", ["backbone.last.0"]),
        ("Softplus", ["backbone.last.0"]),
        ("Twice", ["backbone.first.0", "backbone.last.0"]),
        ("Linked", ["backbone.first.0", "backbone.last.0"]),
    ],
)
def test_what_cannot_be_cut_exactly_stays_whole(
    factory: str, prunable: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    network = own(factory)
    groups = find_groups(network, SPEC)
    assert [group.name for group in groups] == prunable
    whole = {"Halves", "Normalised", "Offset", "Softplus"}
    assert ("stay in any case" in capsys.readouterr().err) == (factory in whole)
    removed = {group.name: list(range(0, group.width, 2)) for group in groups}
    smaller = own(factory)
    remove_channels(smaller, groups, removed)
    assert surgery_error(network, smaller, groups, removed, random_crops(4)) <= 1e-5


def test_the_layer_that_cannot_be_followed_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    find_groups(own("Normalised"), SPEC)
    told = capsys.readouterr().err
    assert (
        "backbone.middle.1: aten.native_group_norm.default of backbone.mixing (GroupNorm)" in told
    )


class Bare(nn.Module):
    """No BatchNorm anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.conv(image)
        return features


def test_a_network_without_anything_to_slim_is_refused() -> None:
    with pytest.raises(ConfigError, match="no channels of this network can be removed"):
        find_groups(own("Bare"), SPEC)
