"""Which channels to remove: one global ranking, floors and rounding per group.

The rule is our own because torch-pruning 1.6.1 leaves a group at full width when all its channels
fall below the threshold, rounds counts down, and removes more than asked where scores tie, which
is just what good sparsity training produces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.errors import ConfigError

__all__ = ["SCORES", "Limits", "Scores", "select_channels"]

Scores = Mapping[str, npt.NDArray[np.float64]]
"""Group name to (width,): the lower, the sooner a channel goes."""
SCORES: Final = ("normalised", "gamma")


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

    def kept(self, width: int, condemned: int) -> int:
        """Return how many of ``width`` channels stay when ``condemned`` of them should go."""
        floor = max(self.min_channels, ceil(width * (1 - self.max_ratio) - 1e-9))
        wanted = max(width - condemned, floor)
        return min(width, ceil(wanted / self.round_to) * self.round_to)


def select_channels(
    scores: Scores,
    limits: Limits,
    removed_share: Callable[[Mapping[str, int]], float],
    target: float,
) -> dict[str, list[int]]:
    """Remove the lowest scores of all groups until ``target`` is reached.

    Args:
        scores: Of all channels.
        limits: What every group keeps.
        removed_share: Group name to kept width, to the share of the cost that this removes.
        target: Least share to remove.

    Returns:
        Group name to the channels to remove, ascending; the fewest that reach the target.

    Raises:
        ConfigError: not even the floors of all groups reach the target.
    """
    order = _global_order(scores)

    def kept(condemned: int) -> dict[str, int]:
        counts = np.bincount(order[:condemned], minlength=len(scores))
        return {
            name: limits.kept(len(score), int(count))
            for (name, score), count in zip(scores.items(), counts, strict=True)
        }

    largest = removed_share(kept(len(order)))
    if not largest >= target:
        raise ConfigError(
            f"a share of {target:.3f} cannot be removed: with --round-to {limits.round_to}, "
            f"--min-channels {limits.min_channels} and --max-ratio {limits.max_ratio} the largest "
            f"reachable is {largest:.3f}; lower the target or these limits"
        )
    low, high = 0, len(order)  # more condemned channels never cost more: bisect their number
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if removed_share(kept(middle)) >= target else (middle + 1, high)
    widths = kept(high)
    return {
        name: sorted(np.argsort(score, kind="stable")[: len(score) - widths[name]].tolist())
        for name, score in scores.items()
    }


def _global_order(scores: Scores) -> npt.NDArray[np.int64]:
    """Return the group index of all channels, lowest score first.

    Equal scores, as the zeros of sparsity training, take turns over the groups in proportion to
    their widths; else the first group would pay for all.
    """
    places = [
        np.argsort(np.argsort(score, kind="stable")) / len(score) for score in scores.values()
    ]
    owners = [np.full(len(score), index) for index, score in enumerate(scores.values())]
    order = np.lexsort((np.concatenate(places), np.concatenate([*scores.values()])))
    return np.concatenate(owners)[order]
