from __future__ import annotations

import pytest
from torch import Tensor, nn

from compress.slim.groups import find_groups
from compress.slim.surgery import shrunk_plan
from tests.slimming import SCHEMA, SPEC, tiny_network
from train.cost import CostModel, count_macs, count_parameters
from train.network import NetworkConfig, build, channel_plan

pytestmark = pytest.mark.usefixtures("one_thread")


def test_counts_agree_with_a_count_by_hand() -> None:
    network = tiny_network(width=16)
    # Stem: 3x3 from 3 to 16 channels on 8x16 positions.
    stem = 8 * 16 * 9 * 3 * 16
    # Max-pool to 4x8; four 3x3 convolutions from 16 to 16.
    first = 4 * (4 * 8) * 9 * 16 * 16
    second = (2 * 4) * (9 * 16 * 32 + 3 * 9 * 32 * 32 + 16 * 32)
    third = (1 * 2) * (9 * 32 * 64 + 3 * 9 * 64 * 64 + 32 * 64)
    fourth = (1 * 2) * (9 * 64 * 32 + 3 * 9 * 32 * 32 + 64 * 32)
    heads = (2 * 32) * (3 + 2)
    assert count_macs(network, SPEC) == stem + first + second + third + fourth + heads


class Tokens(nn.Module):
    """A grouped convolution, a norm without scales, and a linear layer at every place of a map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 4, 4, groups=3)
        self.norm = nn.BatchNorm2d(12, affine=False)
        self.linear = nn.Linear(12, 10)

    def forward(self, image: Tensor) -> Tensor:
        places = self.norm(self.conv(image)).permute(0, 2, 3, 1)
        features: Tensor = self.linear(places).permute(0, 3, 1, 2)
        return features


def test_groups_and_linear_layers_at_many_places() -> None:
    config = NetworkConfig(backbone=f"{__name__}:Tokens", pool="global")
    network = build(SCHEMA, SPEC, config)
    places = 4 * 8
    macs = places * 12 * 16 * 3 // 3 + places * 12 * 10 + 10 * (3 + 2)
    assert count_macs(network, SPEC) == macs
    model = CostModel.of(network, SPEC)
    assert model.parameters(channel_plan(network)) == count_parameters(network)
    assert model.other == 0


@pytest.mark.parametrize("pool", ["columns", "global"])
def test_parameters_are_exact(pool: str) -> None:
    network = tiny_network(pool)
    model = CostModel.of(network, SPEC)
    assert model.parameters(channel_plan(network)) == count_parameters(network)
    assert model.other == 0
    smaller = shrunk_plan(
        channel_plan(network), groups := find_groups(network, SPEC), {g.name: 8 for g in groups}
    )
    assert model.parameters(smaller) < count_parameters(network)
    assert model.macs(smaller) < count_macs(network, SPEC)


def test_parameters_outside_known_layers_are_kept() -> None:
    network = tiny_network()
    network.gain = nn.Parameter(network.mean.repeat(5))
    model = CostModel.of(network, SPEC)
    assert model.other == 5
    assert model.parameters(channel_plan(network)) == count_parameters(network)


def test_counting_leaves_the_mode_as_it_was() -> None:
    network = tiny_network().train()
    count_macs(network, SPEC)
    assert network.training
    assert not any(layer._forward_hooks for layer in network.modules())
