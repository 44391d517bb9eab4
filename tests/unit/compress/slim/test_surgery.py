"""Removing channels is exactly the same as silencing them, for every backbone."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from compress.slim.groups import find_groups
from compress.slim.recovery import reestimate_statistics
from compress.slim.surgery import (
    ChannelGroup,
    mask_channels,
    remove_channels,
    shrunk_plan,
    surgery_error,
)
from runtime.errors import ConfigError
from tests.slimming import SCHEMA, SPEC, random_crops, tiny_config, tiny_network
from tests.unit.train.backbones.tiny import tiny_backbone_network
from train.backbones import BACKBONES
from train.cost import count_parameters
from train.network import Network, build, channel_plan

EXACT = 1e-5


def random_removal(groups: list[ChannelGroup], seed: int) -> dict[str, list[int]]:
    random = np.random.default_rng(seed)
    return {
        group.name: sorted(
            random.choice(group.width, random.integers(0, group.width), replace=False).tolist()
        )
        for group in groups
    }


def cut(network: Network, groups: list[ChannelGroup], removed: dict[str, list[int]]) -> Network:
    smaller = copy.deepcopy(network)
    remove_channels(smaller, groups, removed)
    return smaller


@pytest.mark.parametrize("name", BACKBONES)
def test_a_cut_network_equals_a_masked_one(name: str) -> None:
    network = tiny_backbone_network(name)
    groups = find_groups(network, SPEC)
    for seed in range(3):
        removed = random_removal(groups, seed)
        smaller = cut(network, groups, removed)
        assert count_parameters(smaller) < count_parameters(network)
        assert surgery_error(network, smaller, groups, removed, random_crops(8, seed)) <= EXACT


@pytest.mark.parametrize("pool", ["columns", "global", "attention"])
def test_heads_of_all_pools_lose_what_they_read(pool: str) -> None:
    network = tiny_network(pool)
    groups = find_groups(network, SPEC)
    removed = random_removal(groups, 4)
    smaller = cut(network, groups, removed)
    assert surgery_error(network, smaller, groups, removed, random_crops(8)) <= EXACT
    last = next(group for group in groups if "heads.linear.colour" in group.inputs)
    kept = last.width - len(removed[last.name])
    linear = smaller.heads.layers()["colour"]
    assert linear.in_features == kept * (2 if pool == "columns" else 1)
    assert linear.out_features == 3


def test_the_proof_can_fail() -> None:
    """Other channels than those that were masked: an error of the order of the logits."""
    network = tiny_network()
    groups = find_groups(network, SPEC)
    removed, other = random_removal(groups, 1), random_removal(groups, 2)
    smaller = cut(network, groups, removed)
    assert surgery_error(network, smaller, groups, other, random_crops(8)) > 100 * EXACT


def test_a_mask_silences_and_is_taken_off_again() -> None:
    network = tiny_network()
    groups = find_groups(network, SPEC)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with mask_channels(network, groups, {groups[0].name: [1, 5]}):
        for name in groups[0].scales:
            norm = network.get_submodule(name)
            assert norm.weight[[1, 5]].tolist() == norm.bias[[1, 5]].tolist() == [0, 0]
        changed = {n for n, value in network.state_dict().items() if not value.equal(before[n])}
    weights = {f"{name}.weight" for name in (*groups[0].outputs, *groups[0].norms)}
    assert changed == weights | {f"{name}.bias" for name in groups[0].norms}
    with pytest.raises(KeyError), mask_channels(network, groups, {groups[0].name: [1]}):
        raise KeyError
    for name, value in network.state_dict().items():
        assert value.equal(before[name]), name


def test_a_constant_behind_a_scale_of_zero_is_carried_by_statistics() -> None:
    """Sparsity training leaves channels that put out relu(shift), whatever comes in.

    Behind a convolution without padding that only moves the mean, so measured again the cut
    network gives the very answers of the whole one.
    """
    network = tiny_backbone_network("resnext18")
    groups = [
        group
        for group in find_groups(network, SPEC)
        if all(
            isinstance(layer := network.get_submodule(name), nn.Conv2d)
            and layer.kernel_size == (1, 1)
            for name in group.inputs
        )
    ]
    removed = random_removal(groups, 3)
    with torch.no_grad():
        for group in groups:
            for name in group.scales:
                channels = group.norms[name][removed[group.name]].flatten()
                network.get_submodule(name).weight[channels] = 0
    assert any(removed.values())
    smaller, images = cut(network, groups, removed), [random_crops(8, seed) for seed in range(2)]
    reestimate_statistics(network, images)
    unmended = surgery_error(network, smaller, [], {}, images[0])
    reestimate_statistics(smaller, images)
    assert surgery_error(network, smaller, [], {}, images[0]) <= EXACT < unmended / 100


def test_the_plan_foretells_the_cut() -> None:
    network = tiny_backbone_network("resnext18")
    groups, plan = find_groups(network, SPEC), channel_plan(network)
    removed = random_removal(groups, 7)
    kept = {group.name: group.width - len(removed[group.name]) for group in groups}
    assert shrunk_plan(plan, groups, kept) == channel_plan(cut(network, groups, removed))


def test_a_cut_network_is_rebuilt_from_its_plan() -> None:
    network = tiny_network()
    groups = find_groups(network, SPEC)
    removed = random_removal(groups, 3)
    smaller = cut(network, groups, removed)
    rebuilt = build(SCHEMA, SPEC, tiny_config(), channel_plan(smaller)).eval()
    rebuilt.load_state_dict(smaller.state_dict())
    assert surgery_error(network, rebuilt, groups, removed, random_crops(4)) <= EXACT


def test_a_group_cannot_vanish() -> None:
    network = tiny_network()
    groups = find_groups(network, SPEC)
    every = list(range(groups[0].width))
    with pytest.raises(ConfigError, match="all its channels"):
        remove_channels(network, groups, {groups[0].name: every})
