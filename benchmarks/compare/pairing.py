"""Two engines on the same samples: what changed, and whether the change is real.

A *flip* is a sample whose decoded answer differs between the two; it says what an embedder would
notice. The exact McNemar test (McNemar, Psychometrika 12, 1947; exact form: two-sided binomial on
the discordant pairs) says whether one of them is really better. The interval of the difference is
that of Agresti and Min (Statistics in Medicine 24, 2005), a Wald interval after adding half a
sample to each cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.intervals import Share
from runtime.arrays import Bools
from runtime.decode import Decoded
from runtime.errors import ConfigError

__all__ = ["FEWEST_CROPS", "INT8_FLIPS", "Flips", "Paired", "allowed_flips", "flips", "mcnemar"]

INT8_FLIPS: Final = 0.01
"""Share of answers that INT8 may change where nobody says otherwise."""
FEWEST_CROPS: Final = 50
"""Least set of which one crop may flip though that is more than the allowed share."""


def allowed_flips(most: float, crops: int) -> float:
    """Return how many of ``crops`` may flip where a share of ``most`` may.

    One flip is within the budget of a set too small to hold a fraction of one, but not of one so
    small that it says nothing.
    """
    return max(most * crops, 1.0 if most > 0 and crops >= FEWEST_CROPS else 0.0)


@dataclass(frozen=True, slots=True)
class Flips:
    """Samples that two engines answer differently."""

    where: npt.NDArray[np.int64]
    """Indices of the samples, ascending."""
    total: int

    @property
    def share(self) -> Share:
        """Flips over all samples."""
        return Share(len(self.where), self.total)


def flips(first: Decoded, second: Decoded) -> Flips:
    """Find the samples where any head's decoded answer differs.

    Confidence and abstention play no part; a labels head differs when one label does.

    Raises:
        ConfigError: the two have different heads or numbers of samples.
    """
    heads = [{*item.choices, *item.labels} for item in (first, second)]
    if heads[0] != heads[1] or len(first) != len(second):
        raise ConfigError(
            f"cannot compare answers of {len(first)} samples, heads {sorted(heads[0])}, with "
            f"{len(second)} samples, heads {sorted(heads[1])}"
        )
    differs = np.zeros(len(first), np.bool_)
    for name, choice in first.choices.items():
        differs |= choice != second.choices[name]
    for name, labels in first.labels.items():
        differs |= (labels != second.labels[name]).any(axis=1)
    return Flips(np.flatnonzero(differs), len(first))


@dataclass(frozen=True, slots=True)
class Paired:
    """Right and wrong of two engines on the same samples."""

    only_first: int
    """Samples that only the first gets right: losses of the second."""
    only_second: int
    """Samples that only the second gets right: gains of the second."""
    total: int

    @property
    def drop(self) -> float:
        """Share of right answers that the second loses against the first; NaN without samples."""
        return (self.only_first - self.only_second) / self.total if self.total else float("nan")

    @property
    def p_value(self) -> float:
        """Probability of so uneven a split, or a more uneven one, if both were equally good."""
        discordant = self.only_first + self.only_second
        # Whole numbers, because 0.5**discordant would underflow.
        term = tail = 1
        for k in range(min(self.only_first, self.only_second)):
            term = term * (discordant - k) // (k + 1)
            tail += term
        return min(1.0, 2 * tail / (1 << discordant))

    def bounds(self, confidence: float) -> tuple[float, float]:
        """Return a lower and an upper bound of ``drop``, each alone holding with ``confidence``."""
        if not self.total:
            return -1.0, 1.0
        z = NormalDist().inv_cdf(confidence)
        lost, gained, total = self.only_first + 0.5, self.only_second + 0.5, self.total + 2
        middle = (lost - gained) / total
        reach = z * sqrt(lost + gained - (lost - gained) ** 2 / total) / total
        return max(-1.0, middle - reach), min(1.0, middle + reach)

    def to_object(self) -> Mapping[str, Any]:
        """Return counts, drop with its 95 % interval and p for a report."""
        low, high = self.bounds(0.975)
        return {
            "only_first_right": self.only_first,
            "only_second_right": self.only_second,
            "total": self.total,
            "drop": self.drop,
            "low": low,
            "high": high,
            "p_value": self.p_value,
        }


def mcnemar(first_right: Bools, second_right: Bools) -> Paired:
    """Compare two (N,) vectors of right answers on the same N samples.

    Raises:
        ConfigError: the vectors differ in length.
    """
    if first_right.shape != second_right.shape:
        raise ConfigError(
            f"paired comparison needs the same samples, got {first_right.shape} and "
            f"{second_right.shape}"
        )
    return Paired(
        only_first=int((first_right & ~second_right).sum()),
        only_second=int((second_right & ~first_right).sum()),
        total=len(first_right),
    )
