"""Which channels to remove: one ranking, floors and rounding per group.

A group whose scores are all lowest still keeps its floor, and where scores tie, which is just what
good sparsity training produces, no more goes than was asked for.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, gcd
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.errors import ConfigError

__all__ = ["SCORES", "Candidates", "Limits", "Scores", "select_channels"]

Scores = Mapping[str, npt.NDArray[np.float64]]
"""Group name to (width,): the lower, the sooner a channel goes."""
SCORES: Final = ("normalised", "gamma", "loss")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a group keeps in any case.

    Raises:
        ConfigError: a count below 1 or a ratio outside (0, 1].
    """

    round_to: int = 8
    min_channels: int = 8
    max_ratio: float = 0.9

    def __post_init__(self) -> None:
        if self.round_to < 1 or self.min_channels < 1 or not 0 < self.max_ratio <= 1:
            raise ConfigError(
                "need --round-to >= 1, --min-channels >= 1 and --max-ratio in (0, 1], got "
                f"{self.round_to}, {self.min_channels} and {self.max_ratio}"
            )

    def kept(self, width: int, condemned: int, *, channels: int = 1, whole: int = 0) -> int:
        """Return how many of ``width`` units stay when ``condemned`` of them should go.

        Args:
            width: Units that there are.
            condemned: Units that should go.
            channels: Channels of a unit; the limits count channels.
            whole: Units that there were at first, where some have gone before.
        """
        lost = self.max_ratio * max(width, whole)
        floor = max(ceil(self.min_channels / channels), ceil(max(width, whole) - lost - 1e-9))
        step = self.round_to // gcd(self.round_to, channels)
        return min(width, ceil(max(width - condemned, floor) / step) * step)


@dataclass(frozen=True, slots=True)
class Candidates:
    """What there is to choose from."""

    scores: Scores
    channels: Mapping[str, int] = field(default_factory=dict)
    """Group name to channels of a unit; 1 where not given."""
    whole: Mapping[str, int] = field(default_factory=dict)
    """Group name to the width that it had at first, where it has lost some before."""

    def kept(self, limits: Limits, condemned: Sequence[int]) -> dict[str, int]:
        """Return group name to width, when so many units of each group should go."""
        return {
            name: limits.kept(
                len(score),
                count,
                channels=self.channels.get(name, 1),
                whole=self.whole.get(name, 0),
            )
            for (name, score), count in zip(self.scores.items(), condemned, strict=True)
        }


def select_channels(
    candidates: Candidates,
    limits: Limits,
    removed_share: Callable[[Mapping[str, int]], float],
    target: float,
    *,
    local: bool = False,
    of: str = "cost",
) -> dict[str, list[int]]:
    """Remove the lowest scores of all groups until ``target`` is reached.

    Args:
        candidates: All units with their scores.
        limits: What every group keeps.
        removed_share: Group name to kept width, to the share of the cost that this removes.
        target: Least share to remove.
        local: Take the same share from every group instead of ranking over all.
        of: What the cost is called in messages.

    Returns:
        Group name to the units to remove, ascending; the fewest that reach the target.

    Raises:
        ConfigError: not even the floors of all groups reach the target.
    """
    scores = candidates.scores
    order = _order(scores, local=local)

    def kept(condemned: int) -> dict[str, int]:
        counts = np.bincount(order[:condemned], minlength=len(scores))
        return candidates.kept(limits, counts.tolist())

    largest = removed_share(kept(len(order)))
    if not largest >= target:
        raise ConfigError(
            f"a share of {target:.3f} of the {of} cannot be removed: with --round-to "
            f"{limits.round_to}, --min-channels {limits.min_channels} and --max-ratio "
            f"{limits.max_ratio} the largest reachable is {largest:.3f}; lower the target or these "
            "limits"
        )
    # More condemned channels never cost more: bisect their number.
    enough = bisect_left(
        range(len(order)), 1, key=lambda condemned: removed_share(kept(condemned)) >= target
    )
    widths = kept(enough)
    return {
        name: sorted(np.argsort(score, kind="stable")[: len(score) - widths[name]].tolist())
        for name, score in scores.items()
    }


def _order(scores: Scores, *, local: bool) -> npt.NDArray[np.int64]:
    """Return the group index of all units, lowest score first.

    Equal scores, as the zeros of sparsity training, take turns over the groups in proportion to
    their widths; else the first group would pay for all. ``local`` treats all scores as equal.
    """
    places = [
        np.argsort(np.argsort(score, kind="stable")) / len(score) for score in scores.values()
    ]
    owners = [np.full(len(score), index) for index, score in enumerate(scores.values())]
    ranked = places if local else [*scores.values()]
    order = np.lexsort((np.concatenate(places), np.concatenate(ranked)))
    return np.concatenate(owners)[order]
