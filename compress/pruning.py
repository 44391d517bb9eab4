"""Pruning a network in one go: choose channels, cut them out, mend what the cut shifted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from runtime.errors import ConfigError
from train.checkpoint import Checkpoint
from train.cost import CostModel
from train.network import ChannelPlan, Network, build, channel_plan

from .groups import ChannelGroup, find_groups, remove_channels, shrunk_plan
from .recovery import match_mean_logits, mean_logits, reestimate_statistics
from .scales import channel_scores, mean_scales
from .selection import SCORES, Limits, select_channels

__all__ = ["ChannelChooser", "PruningGoal", "prune", "smaller_network"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PruningGoal:
    """How much to remove, and by which rule.

    Raises:
        ConfigError: a share outside (0, 1) or an unknown score.
    """

    share: float
    """Share of parameters, or of multiply-accumulates, to remove."""
    of_macs: bool = False
    score: str = "normalised"
    limits: Limits

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ConfigError(f"the share to remove must be in (0, 1), got {self.share}")
        if self.score not in SCORES:
            raise ConfigError(f"score {self.score!r} is unknown; use one of {SCORES}")


@dataclass(frozen=True, slots=True)
class ChannelChooser:
    """Says which channels a network can best do without, at any time of its training."""

    groups: Sequence[ChannelGroup]
    units: Mapping[str, float]
    """Group name to what its scales are divided by."""
    goal: PruningGoal
    plan: ChannelPlan
    """Of the network before it is cut."""
    model: CostModel

    @classmethod
    def of(cls, network: Network, source: Checkpoint, goal: PruningGoal) -> ChannelChooser:
        """Note the groups, scales and costs that ``network`` has now, before sparsity training.

        Raises:
            ConfigError: the goal cannot be reached within its limits.
            MissingExtraError: torch-pruning is not installed.
        """
        groups = find_groups(network, source.input)
        model = CostModel.of(network, source.input)
        units = mean_scales(network, groups)
        chooser = cls(groups, units, goal, channel_plan(network), model)
        chooser.choose(network)  # a goal out of reach fails now, not after an hour of training
        return chooser

    def choose(self, network: Network) -> dict[str, list[int]]:
        """Return group name to the channels to remove, by the scales that ``network`` has now."""
        raw = self.goal.score == "gamma"
        scores = channel_scores(network, self.groups, {} if raw else self.units)
        return select_channels(scores, self.goal.limits, self._removed_share, self.goal.share)

    def _removed_share(self, kept: Mapping[str, int]) -> float:
        cost = self.model.macs if self.goal.of_macs else self.model.parameters
        return 1 - cost(shrunk_plan(self.plan, self.groups, kept)) / cost(self.plan)


def prune(
    network: Network,
    source: Checkpoint,
    removed: Mapping[str, Sequence[int]],
    images: Sequence[Tensor],
) -> Network:
    """Return a smaller network without the ``removed`` channels, ready to judge or to train.

    Args:
        network: Loses its channels, too; of no use afterwards.
        source: Where its schema, input and config stand.
        removed: Group name to channels.
        images: Training batches (N, H, W, 3) uint8 to measure on what the cut shifted.
    """
    wanted = mean_logits(network, images)
    remove_channels(network, source.input, removed)
    smaller = smaller_network(source, network)
    reestimate_statistics(smaller, images)
    match_mean_logits(smaller, images, wanted)
    return smaller


def smaller_network(source: Checkpoint, cut: Network) -> Network:
    """Rebuild a network that lost channels from its channel plan.

    So what is trained, judged and saved is the very network that a fresh process loads: the same
    modules in the same memory format, which decides the kernels and so the last bits.
    """
    network = build(source.schema, source.input, source.network, channel_plan(cut))
    network.load_state_dict(cut.state_dict())
    return network.eval()
