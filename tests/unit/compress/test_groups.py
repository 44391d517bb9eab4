from __future__ import annotations

import copy
import sys

import numpy as np
import pytest
import torch

from compress.groups import find_groups, remove_channels, shrunk_plan
from runtime.errors import ConfigError, MissingExtraError
from tests.slimming import SCHEMA, SPEC, random_crops, tiny_config, tiny_network
from train.cost import count_parameters
from train.network import Network, build, channel_plan


def random_removal(network: Network, seed: int) -> dict[str, list[int]]:
    random = np.random.default_rng(seed)
    return {
        group.name: sorted(
            random.choice(group.width, random.integers(0, group.width), replace=False).tolist()
        )
        for group in find_groups(network, SPEC)
    }


def masked(network: Network, removed: dict[str, list[int]]) -> Network:
    """The same network with the removed channels silent: scale and shift are zero."""
    silent = copy.deepcopy(network)
    with torch.no_grad():
        for group in find_groups(network, SPEC):
            for name in group.scales:
                layer = silent.get_submodule(name)
                layer.weight[removed[group.name]] = 0
                layer.bias[removed[group.name]] = 0
    return silent


@pytest.mark.parametrize("pool", ["columns", "global", "attention"])
@pytest.mark.parametrize("seed", range(3))
def test_a_cut_network_equals_a_masked_one(pool: str, seed: int) -> None:
    network = tiny_network(pool, seed=seed)
    removed = random_removal(network, seed)
    silent = masked(network, removed)
    remove_channels(network, SPEC, removed)
    crops = random_crops(8, seed)
    with torch.inference_mode():
        expected, found = silent(crops), network(crops)
    assert count_parameters(network) < count_parameters(silent)
    for head, values in expected.items():
        torch.testing.assert_close(found[head], values, rtol=1e-5, atol=1e-5)


def test_the_plan_foretells_the_cut() -> None:
    network = tiny_network()
    groups, plan = find_groups(network, SPEC), channel_plan(network)
    removed = random_removal(network, 7)
    kept = {group.name: group.width - len(removed[group.name]) for group in groups}
    remove_channels(network, SPEC, removed)
    assert shrunk_plan(plan, groups, kept) == channel_plan(network)


def test_a_cut_network_is_rebuilt_from_its_plan() -> None:
    network = tiny_network()
    remove_channels(network, SPEC, random_removal(network, 3))
    rebuilt = build(SCHEMA, SPEC, tiny_config(), channel_plan(network))
    rebuilt.load_state_dict(network.state_dict())
    crops = random_crops(4)
    with torch.inference_mode():
        expected, found = network.eval()(crops), rebuilt.eval()(crops)
    for head, values in expected.items():
        torch.testing.assert_close(found[head], values, rtol=1e-5, atol=1e-5)


def test_a_residual_stage_is_one_group() -> None:
    groups = {group.name: group for group in find_groups(tiny_network(), SPEC)}
    stage = groups["backbone.stages.1.0.conv2"]
    assert list(stage.scales) == [
        "backbone.stages.1.0.bn2",
        "backbone.stages.1.0.shortcut.1",
        "backbone.stages.1.1.bn2",
    ]
    assert len(groups) == 12  # stem and stage one, three more stages, eight inner convolutions


def test_heads_lose_inputs_only() -> None:
    network = tiny_network()
    last = find_groups(network, SPEC)[-2]
    assert last.inputs["heads.linear.colour"] == 2  # columns of the last feature map
    remove_channels(network, SPEC, {last.name: [0, 5]})
    linear = network.heads.layers()["colour"]
    assert (linear.in_features, linear.out_features) == (2 * 30, 3)


def test_groups_come_in_the_same_order_every_time() -> None:
    first, second = find_groups(tiny_network(), SPEC), find_groups(tiny_network(seed=1), SPEC)
    assert first == second


def test_a_group_cannot_vanish() -> None:
    network = tiny_network()
    group = find_groups(network, SPEC)[0]
    with pytest.raises(ConfigError, match="all its channels"):
        remove_channels(network, SPEC, {group.name: list(range(group.width))})


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(MissingExtraError, match=r"headlight\[compress\]"):
        find_groups(tiny_network(), SPEC)
