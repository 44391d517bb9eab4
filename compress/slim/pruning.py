"""Pruning a network in one go: choose channels, cut them out, mend what the cut shifted."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from torch import Tensor

from runtime.errors import ConfigError, ParityError
from train.checkpoint import Checkpoint
from train.cost import CostModel
from train.network import ChannelPlan, Network, build, channel_plan

from .groups import find_groups
from .loss_curves import marginal_losses
from .recovery import match_mean_logits, mean_logits, reestimate_statistics
from .scales import channel_scores, mean_scales
from .selection import SCORES, Candidates, Limits, Scores, select_channels
from .surgery import (
    TOLERANCE,
    ChannelGroup,
    Removed,
    remove_channels,
    shrunk_plan,
    surgery_error,
)

__all__ = ["COSTS", "ChannelChooser", "PruningGoal", "mended", "prune", "smaller_network"]

COSTS = ("parameters", "macs", "latency")
_CHECKED_CROPS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PruningGoal:
    """How much to remove, and by which rule.

    Raises:
        ConfigError: a share outside (0, 1), or an unknown cost or score.
    """

    share: float
    """Share of the cost to remove."""
    of: str = "parameters"
    """The cost: ``parameters``, ``macs`` or ``latency``."""
    score: str = "normalised"
    local: bool = False
    """Whether every group loses the same share."""
    limits: Limits

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ConfigError(f"the share to remove must be in (0, 1), got {self.share}")
        if self.score not in SCORES or self.of not in COSTS:
            raise ConfigError(
                f"score {self.score!r} or cost {self.of!r} is unknown; use one of {SCORES} and of "
                f"{COSTS}"
            )

    def after(self, number: int, rounds: int) -> PruningGoal:
        """Return what is to be gone after ``number`` of ``rounds`` rounds.

        Every round keeps the same share of what the one before has left.
        """
        return replace(self, share=1 - (1 - self.share) ** (number / rounds))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelChooser:
    """Says which channels a network can best do without, at any time of its training."""

    groups: Sequence[ChannelGroup]
    units: Mapping[str, float]
    """Group name to what its scales are divided by."""
    goal: PruningGoal
    plan: ChannelPlan
    """Of the network before it is cut."""
    cost: Callable[[ChannelPlan], float]
    whole_cost: float
    """Of the network before anything was cut; the goal's share is of this."""
    whole: Mapping[str, int]
    """Group name to its width before anything was cut."""
    marginals: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    """For the score ``loss``, group name to what its units cost in loss, lowest scale first."""
    gains: Mapping[str, float] = field(default_factory=dict)
    """Group name to what a unit less saves, over the mean of all groups; a score counts per gain.
    1 where not given."""

    @classmethod
    def of(
        cls,
        network: Network,
        source: Checkpoint,
        goal: PruningGoal,
        *,
        latency: Callable[[ChannelPlan], float] | None = None,
        curves: Callable[[Sequence[ChannelGroup], Scores], Mapping[str, Sequence[float]]],
    ) -> ChannelChooser:
        """Note the groups, scales and costs that ``network`` has now, before sparsity training.

        Args:
            network: Of ``source``.
            source: Where its input stands.
            goal: How much to remove.
            latency: Channel plan to ms, for a goal of latency.
            curves: Measures ``loss_curves``, for the score ``loss``.

        Raises:
            ConfigError: the goal cannot be reached within its limits.
        """
        groups, plan = find_groups(network, source.input), channel_plan(network)
        units, losses = mean_scales(network, groups), {}
        if goal.score == "loss":
            losses = dict(curves(groups, channel_scores(network, groups, units)))
        model = CostModel.of(network, source.input)
        cost = latency or (model.macs if goal.of == "macs" else model.parameters)
        chooser = cls(
            groups=groups,
            units=units,
            goal=goal,
            plan=plan,
            cost=cost,
            whole_cost=cost(plan),
            whole={group.name: group.width for group in groups},
            marginals={g.name: marginal_losses(losses[g.name], g.width) for g in groups if losses},
        )
        if latency is not None:
            chooser = chooser._weighed(network)
        chooser.choose(network)  # a goal out of reach fails now, not after an hour of training
        return chooser

    def following(self, network: Network, source: Checkpoint) -> ChannelChooser:
        """Return the chooser of the next round, for a network that this one's choice has left."""
        groups = find_groups(network, source.input)
        return replace(self, groups=groups, plan=channel_plan(network))

    def choose(self, network: Network) -> dict[str, list[int]]:
        """Return group name to the units to remove, by the scales that ``network`` has now."""
        raw = self.goal.score == "gamma"
        scores = channel_scores(network, self.groups, {} if raw else self.units)
        if self.goal.score == "loss":
            scores = {name: self._losses(name, score) for name, score in scores.items()}
        return select_channels(
            self._candidates(scores),
            self.goal.limits,
            lambda kept: 1 - self._cost(kept) / self.whole_cost,
            self.goal.share,
            local=self.goal.local,
            of=self.goal.of,
        )

    def _candidates(self, scores: Scores) -> Candidates:
        return Candidates(
            {name: score / self.gains.get(name, 1.0) for name, score in scores.items()},
            {group.name: group.channels for group in self.groups},
            self.whole,
        )

    def _losses(self, name: str, score: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return what each unit of a group costs in loss, by its place among the others."""
        places = np.argsort(np.argsort(score, kind="stable"))
        # Those that went in earlier rounds had the lowest places.
        lost: npt.NDArray[np.float64] = self.marginals[name][places + self.whole[name] - len(score)]
        return lost

    def _cost(self, kept: Mapping[str, int]) -> float:
        return self.cost(shrunk_plan(self.plan, self.groups, kept))

    def _weighed(self, network: Network) -> ChannelChooser:
        """Return a chooser that knows what a unit of each group costs, about where it will end.

        What a unit costs depends on the widths of its neighbours, and these on the choice, so
        both are found by turns.
        """
        full = {group.name: group.width for group in self.groups}
        chooser = self
        for _ in range(3):
            removed = chooser.choose(network)
            kept = {name: width - len(removed[name]) for name, width in full.items()}
            floors = chooser._candidates(
                {name: np.zeros(width) for name, width in full.items()}
            ).kept(self.goal.limits, [*full.values()])
            saved = {
                name: (self._cost({**kept, name: width}) - self._cost({**kept, name: floors[name]}))
                / max(1, width - floors[name])
                for name, width in full.items()
            }
            mean = sum(saved.values()) / len(saved)
            # What saves nothing is never worth removing; nor is a quotient of noise below zero.
            gains = {name: max(value / mean, 1e-6) for name, value in saved.items()}
            chooser = replace(chooser, gains=gains)
        return chooser


def prune(
    network: Network,
    source: Checkpoint,
    groups: Sequence[ChannelGroup],
    removed: Removed,
    images: Sequence[Tensor],
) -> Network:
    """Return a smaller network without the ``removed`` channels, ready to judge or to train.

    Args:
        network: Keeps its channels; left in evaluation mode.
        source: Where its schema, input and config stand.
        groups: Of ``network``.
        removed: Group name to units.
        images: Training batches (N, H, W, 3) uint8 to measure on what the cut shifted.

    Raises:
        ParityError: the smaller network answers otherwise than the whole one with the same
            channels masked.
    """
    cut = copy.deepcopy(network.eval())
    remove_channels(cut, groups, removed)
    smaller = smaller_network(source, cut)
    error = surgery_error(network, smaller, groups, removed, images[0][:_CHECKED_CROPS])
    # Written as "not within" so that a NaN, which compares false, also fails.
    if not error <= TOLERANCE:
        raise ParityError(
            f"the network without the removed channels differs by {error:.1e} of its largest logit "
            f"from the same network with these channels masked, at most {TOLERANCE:.0e} is rounding"
        )
    return mended(smaller, network, images)


def mended(smaller: Network, network: Network, images: Sequence[Tensor]) -> Network:
    """Measure on ``images`` what cutting ``smaller`` out of ``network`` shifted; in place."""
    reestimate_statistics(smaller, images)
    match_mean_logits(smaller, images, mean_logits(network, images))
    return smaller


def smaller_network(source: Checkpoint, cut: Network) -> Network:
    """Rebuild a network that lost channels from its channel plan.

    So what is trained, judged and saved is the very network that a fresh process loads: the same
    modules in the same memory format, which decides the kernels and so the last bits.
    """
    network = build(source.schema, source.input, source.network, channel_plan(cut))
    network.load_state_dict(cut.state_dict())
    return network.eval()
