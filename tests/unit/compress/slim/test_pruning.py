"""Choosing channels for a goal, at once and in rounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import compress.slim.pruning
from compress.slim.pruning import ChannelChooser, PruningGoal, prune
from compress.slim.selection import Limits
from runtime.errors import ConfigError, ParityError
from tests.slimming import random_crops, tiny_config, tiny_network, write_checkpoint
from train.checkpoint import Checkpoint
from train.cost import count_parameters
from train.network import ChannelPlan

LIMITS = Limits(round_to=4, min_channels=4)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("pruning") / "base"
    return write_checkpoint(folder, tiny_network(), tiny_config())


def no_curves(*_: object) -> dict[str, list[float]]:
    raise AssertionError("nobody asked for loss curves")


def chooser(source: Checkpoint, **goal: object) -> ChannelChooser:
    goal = {"share": 0.6, "limits": LIMITS, **goal}
    return ChannelChooser.of(source.build(), source, PruningGoal(**goal), curves=no_curves)


def test_rounds_keep_equal_shares_of_what_is_left() -> None:
    goal = PruningGoal(share=0.875, limits=LIMITS)
    assert [goal.after(n, 3).share for n in (1, 2, 3)] == pytest.approx([0.5, 0.75, 0.875])


def test_rounds_end_where_one_removal_ends(source: Checkpoint) -> None:
    network, images = source.build(), [random_crops(8)]
    whole = count_parameters(network)
    first = chooser(source)
    for number in (1, 2, 3):
        round_ = first if number == 1 else first.following(network, source)
        goal = PruningGoal(share=0.6, limits=LIMITS).after(number, 3)
        round_ = ChannelChooser(
            **{f: getattr(round_, f) for f in round_.__dataclass_fields__ if f != "goal"}, goal=goal
        )
        network = prune(network, source, round_.groups, round_.choose(network), images)
        left = count_parameters(network) / whole
        assert 1 - goal.share - 0.06 <= left <= 1 - goal.share


def test_a_cut_that_is_not_exact_is_refused(
    source: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = chooser(source)
    network = source.build()
    removed = choice.choose(network)
    monkeypatch.setattr(compress.slim.pruning, "surgery_error", lambda *_: float("nan"))
    with pytest.raises(ParityError, match="differs by nan of its largest logit"):
        prune(network, source, choice.groups, removed, [random_crops(8)])


def test_channels_go_where_loss_per_cost_is_least(source: Checkpoint) -> None:
    """Two kinds of groups: in one a unit costs ten times the time, in the other ten times the
    loss."""
    names = [group.name for group in chooser(source).groups]
    dear, slow = names[0], names[5]

    def latency(plan: ChannelPlan) -> float:
        return 10 * plan[slow].outputs + sum(plan[name].outputs for name in names)

    def curves(groups: object, scores: object) -> dict[str, list[float]]:
        return {name: [1.0, 2.0, 3.0, 4.0] if name != dear else [1, 11, 21, 31] for name in names}

    goal = PruningGoal(share=0.3, of="latency", score="loss", limits=LIMITS)
    network = source.build()
    choice = ChannelChooser.of(network, source, goal, latency=latency, curves=curves)
    removed = choice.choose(network)
    width = {group.name: group.width for group in choice.groups}
    assert choice.gains[slow] / choice.gains[dear] == pytest.approx(11)
    assert not removed[dear]
    assert len(removed[slow]) >= 0.5 * width[slow]
    left = latency(choice.plan) * (1 - goal.share)
    kept = {
        name: channels._replace(outputs=channels.outputs - len(removed.get(name, ())))
        for name, channels in choice.plan.items()
    }
    assert latency(kept) <= left


def test_after_a_round_places_count_on(source: Checkpoint) -> None:
    network = source.build()
    curves = {group.name: [0.0, 1.0, 3.0, 6.0] for group in chooser(source).groups}
    goal = PruningGoal(share=0.3, score="loss", limits=LIMITS)
    first = ChannelChooser.of(network, source, goal, curves=lambda *_: curves)
    smaller = prune(network, source, first.groups, first.choose(network), [random_crops(8)])
    group = next(
        g for g in first.following(smaller, source).groups if g.width < first.whole[g.name]
    )
    found = first.following(smaller, source)._losses(group.name, np.arange(group.width) * 1.0)
    assert found.tolist() == first.marginals[group.name][-group.width :].tolist()


@pytest.mark.parametrize("wrong", [{"share": 1.0}, {"of": "watts"}, {"score": "luck"}])
def test_goals_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"\(0, 1\)|unknown"):
        PruningGoal(**{"share": 0.5, "limits": LIMITS, **wrong})


def test_a_goal_out_of_reach_fails_at_once(source: Checkpoint) -> None:
    with pytest.raises(ConfigError, match=r"a share of 0.990 of the macs cannot be removed"):
        chooser(source, share=0.99, of="macs")


def test_pruning_is_deterministic(source: Checkpoint, tmp_path: Path) -> None:
    choice = chooser(source)
    networks = [
        prune(
            source.build(), source, choice.groups, choice.choose(source.build()), [random_crops(8)]
        )
        for _ in range(2)
    ]
    for one, other in zip(*(network.state_dict().values() for network in networks), strict=True):
        assert torch.equal(one, other)
