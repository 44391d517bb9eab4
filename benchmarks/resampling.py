"""How far a fitted threshold, and what it accepts, would move on other samples.

The percentile bootstrap of Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter
13: validation samples are drawn anew with replacement, the threshold is fitted on them as it was on
all, and judged on test samples drawn anew as well. Wilson's interval of a recall takes the
threshold for granted; this one does not, and where validation is small it is the wider one by far.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from runtime.arrays import Bools
from runtime.errors import ConfigError
from runtime.scores import ACCEPT_NOTHING

__all__ = ["Answers", "ThresholdSpread", "refitted_thresholds", "threshold_spread"]

_RESAMPLES: Final = 1000
_MIN_RESAMPLES: Final = 200
_DRAWS: Final = 20_000_000
"""Most samples drawn in all: above 20,000 validation samples, fewer resamples must do."""
_CHUNK: Final = 2_000_000
"""Samples drawn at a time."""


@dataclass(frozen=True, slots=True)
class Answers:
    """N answers whose truth is known."""

    confidence: npt.NDArray[np.float64]
    """(N,)."""
    right: Bools
    """(N,)."""

    def __len__(self) -> int:
        return len(self.right)


@dataclass(frozen=True, slots=True)
class ThresholdSpread:
    """95 % intervals of a threshold fitted on validation and of what it does on test data."""

    threshold: tuple[float, float]
    recall: tuple[float, float]
    precision: tuple[float, float]
    """Of the accepted; NaN where more than 5 % of the resamples accept nothing."""
    resamples: int

    def to_object(self) -> Mapping[str, Any]:
        """Return the numbers for a report."""
        return {
            "threshold": self.threshold,
            "recall": self.recall,
            "precision": self.precision,
            "resamples": self.resamples,
        }


def threshold_spread(
    validation: Answers, test: Answers, precision_floor: float, *, seed: int = 0
) -> ThresholdSpread:
    """Bootstrap fitting a threshold on ``validation`` and judging it on ``test``.

    Args:
        validation: What the threshold was fitted on; temperatures are taken as they are.
        test: What it is judged on; other samples.
        precision_floor: Of the fit, in (0, 1].
        seed: Of the draws.

    Raises:
        ConfigError: there are no test or no validation samples.
    """
    if not len(validation) or not len(test):
        raise ConfigError(
            f"nothing to draw from: {len(validation)} validation and {len(test)} test samples"
        )
    random = np.random.default_rng(seed)
    thresholds = refitted_thresholds(validation, precision_floor, random)
    order = np.argsort(-test.confidence, kind="stable")
    accepted = np.searchsorted(-test.confidence[order], -thresholds, side="right")
    right = np.append(0, np.cumsum(test.right[order]))[accepted]
    # Drawing N samples anew at a given threshold is one draw of how many are accepted and right,
    # accepted and wrong, and not accepted.
    shares = np.stack([right, accepted - right, len(test) - accepted], axis=1) / len(test)
    drawn = random.multinomial(len(test), shares)
    taken = drawn[:, 0] + drawn[:, 1]
    precision = np.divide(drawn[:, 0], taken, out=np.full(len(taken), np.nan), where=taken > 0)
    return ThresholdSpread(
        threshold=_interval(thresholds),
        recall=_interval(drawn[:, 0] / len(test)),
        precision=_interval(precision),
        resamples=len(thresholds),
    )


def refitted_thresholds(
    validation: Answers, precision_floor: float, random: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Return the thresholds that ``lowest_threshold`` fits on resamples of ``validation``, (B,).

    Args:
        validation: N samples, at least one.
        precision_floor: Of the fit.
        random: Draws the resamples.
    """
    order = np.argsort(-validation.confidence, kind="stable")
    ranked, right = validation.confidence[order], validation.right[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    count = len(ranked)
    resamples = int(np.clip(_DRAWS // count, _MIN_RESAMPLES, _RESAMPLES))
    rows = max(1, _CHUNK // count)
    parts = []
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        times = random.multinomial(count, np.full(count, 1 / count), size=size)  # (b, N)
        drawn = times.cumsum(axis=1)[:, ends]
        good = (times * right).cumsum(axis=1)[:, ends]
        # A confidence that was not drawn cannot be the lowest accepted.
        present = np.diff(drawn, axis=1, prepend=0) > 0
        kept = present & (good / np.maximum(drawn, 1) >= precision_floor)
        last = kept.shape[1] - 1 - kept[:, ::-1].argmax(axis=1)
        parts.append(np.where(kept.any(axis=1), ranked[ends][last], ACCEPT_NOTHING))
    return np.concatenate(parts)


def _interval(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if len(known) < 0.95 * len(values):
        return float("nan"), float("nan")
    # Values that occurred, not means of two: ACCEPT_NOTHING means nothing on the way to it.
    low, high = np.quantile(known, [0.025, 0.975], method="nearest")
    return float(low), float(high)
