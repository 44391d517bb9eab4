from __future__ import annotations

import pytest
import torch

from compress.slim.groups import find_groups
from compress.slim.scales import group_scales, mean_scales
from compress.slim.sparsity import BINS, ScaleShrinker, total_rate
from compress.slim.surgery import ChannelGroup
from tests.slimming import SPEC, tiny_network
from train.loop import LoopConfig
from train.network import Network
from train.optim import OptimConfig, learning_rate


def shrinker(
    network: Network, groups: list[ChannelGroup], strength: float, unit: float | None = None
) -> ScaleShrinker:
    """A shrinker that condemns all channels."""
    units = mean_scales(network, groups) if unit is None else {g.name: unit for g in groups}
    every = {group.name: list(range(group.width)) for group in groups}
    return ScaleShrinker(groups, units, strength, lambda _: every)


def test_an_untied_scale_is_soft_thresholded() -> None:
    network = tiny_network()
    group = find_groups(network, SPEC)[1]
    with torch.no_grad():
        network.get_submodule(group.scales[0]).weight[:4] = torch.tensor([0.05, -0.05, -0.7, 0.0])
    before = group_scales(network, group)[0]
    shrinker(network, [group], 0.5, unit=2.0).step(network, rate=0.1)
    expected = before.sign() * (before.abs() - 0.1 * 0.5 * 2.0).clamp(min=0)
    torch.testing.assert_close(group_scales(network, group)[0], expected)
    assert (group_scales(network, group)[0, :2] == 0).all()


def test_tied_scales_vanish_together() -> None:
    network = tiny_network()
    group = find_groups(network, SPEC)[0]
    first, second, third = (network.get_submodule(name).weight for name in group.scales)
    with torch.no_grad():
        first[0], second[0], third[0] = 0.01, -0.02, 0.02  # norm 0.03 < threshold
        first[1], second[1], third[1] = 0.0, 0.0, 0.9
    threshold = 0.1 * 3**0.5
    shrinker(network, [group], 1.0, unit=1.0).step(network, rate=0.1)
    scales = group_scales(network, group)
    assert (scales[:, 0] == 0).all()
    assert scales[:, 1].tolist() == pytest.approx([0, 0, 0.9 - threshold])


def test_zero_stays_zero_and_strength_zero_changes_nothing() -> None:
    network = tiny_network()
    groups = find_groups(network, SPEC)
    with torch.no_grad():
        network.get_submodule(groups[0].scales[0]).weight.zero_()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    shrinker(network, groups, 0.0).step(network, rate=1.0)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_only_scales_are_touched() -> None:
    network = tiny_network()
    groups = find_groups(network, SPEC)
    scales = {f"{name}.weight" for group in groups for name in group.scales}
    state = {name: value.clone() for name, value in network.state_dict().items()}
    shrinker(network, groups, 1.0).step(network, rate=0.1)
    changed = {n for n, value in network.state_dict().items() if not torch.equal(value, state[n])}
    assert changed == scales


def test_observation_counts_what_is_gone() -> None:
    network = tiny_network()
    groups = find_groups(network, SPEC)
    observer = shrinker(network, groups, 1.0)
    assert observer.observe(network)["near_zero"] == 0
    channels = sum(group.width for group in groups)
    with torch.no_grad():
        network.get_submodule(groups[1].scales[0]).weight[:5] = 0
    found = observer.observe(network)
    assert found["near_zero"] == pytest.approx(5 / channels)
    assert sum(found["scale_histogram"]) == channels
    assert len(found["scale_histogram"]) == len(BINS) - 1


def test_channels_that_stay_are_not_shrunk() -> None:
    network = tiny_network()
    group = find_groups(network, SPEC)[0]
    before = group_scales(network, group)
    ScaleShrinker([group], {group.name: 1.0}, 1.0, lambda _: {group.name: [2, 7]}).step(
        network, 0.1
    )
    changed = (group_scales(network, group) != before).any(0)
    assert changed.nonzero().flatten().tolist() == [2, 7]


def test_the_way_down_does_not_depend_on_the_steps() -> None:
    for steps in (7, 40):
        network = tiny_network()
        group = find_groups(network, SPEC)[1]
        before = group_scales(network, group)
        loop = LoopConfig(steps=steps, optim=OptimConfig(warmup=3))
        falling = shrinker(network, [group], 0.15 / total_rate(loop), unit=1.0)
        for step in range(steps):
            falling.step(network, learning_rate(step, steps, loop.optim))
        torch.testing.assert_close(group_scales(network, group), before - 0.15)
