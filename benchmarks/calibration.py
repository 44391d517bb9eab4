"""Whether confidence means what it says: temperatures, reliability and calibration error.

Temperature scaling after Guo et al., "On Calibration of Modern Neural Networks", ICML 2017: one
number per head divides its logits, chosen to minimise the negative log-likelihood on validation
data; expected calibration error as in their section 2, equal-width bins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import exp, log, sqrt
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from runtime.arrays import Bools, Floats
from runtime.errors import EngineError
from runtime.schema import Head, HeadKind

__all__ = ["TEMPERATURE_RANGE", "Reliability", "fit_temperature", "reliability"]

TEMPERATURE_RANGE: Final = (0.25, 8.0)
_PRIOR_SPREAD: Final = 0.5
"""Standard deviation of the prior on log T: a network is seldom off by more than a factor of e."""
_GOLDEN: Final = (sqrt(5) - 1) / 2


def fit_temperature(head: Head, logits: Floats, truth: npt.NDArray[np.integer]) -> float:
    """Return the temperature under which the truth is most likely.

    Where validation data is separated perfectly the likelihood grows for ever as T falls, and
    every confidence would round to 1 and rank nothing. So log T has a normal prior around 0: a
    few dozen wrong samples outweigh it, none at all do not. The result is 1 without samples.

    Args:
        head: The head.
        logits: (N, K).
        truth: (N,) label indices of a choice head or (N, K) of 0 and 1; -1 where missing.

    Returns:
        Within ``TEMPERATURE_RANGE``.

    Raises:
        EngineError: a logit is NaN or infinite.
    """
    scores = np.asarray(logits, np.float64)
    if not np.isfinite(scores).all():
        raise EngineError(f"head {head.name!r}: NaN or infinite logits cannot be calibrated")
    known = truth >= 0
    if not known.any():
        return 1.0
    if head.kind is HeadKind.CHOICE:
        scores, truth = scores[known], truth[known]

    def cost(log_t: float) -> float:
        scaled = scores * exp(-log_t)
        if head.kind is HeadKind.CHOICE:
            nll = _choice_nll(scaled, truth)
        else:
            nll = float((np.logaddexp(0, scaled) - truth * scaled)[known].sum())
        return nll + 0.5 * (log_t / _PRIOR_SPREAD) ** 2

    low, high = (log(bound) for bound in TEMPERATURE_RANGE)
    return float(np.clip(exp(_minimum(cost, low, high)), *TEMPERATURE_RANGE))


def _minimum(cost: Callable[[float], float], low: float, high: float) -> float:
    """Return where ``cost``, which falls and then rises, is least: golden-section search."""
    inner, outer = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    cost_inner, cost_outer = cost(inner), cost(outer)
    while high - low > 1e-4:
        if cost_inner <= cost_outer:
            high, outer, cost_outer = outer, inner, cost_inner
            inner = high - _GOLDEN * (high - low)
            cost_inner = cost(inner)
        else:
            low, inner, cost_inner = inner, outer, cost_outer
            outer = low + _GOLDEN * (high - low)
            cost_outer = cost(outer)
    return (low + high) / 2


def _choice_nll(scaled: npt.NDArray[np.float64], truth: npt.NDArray[np.integer]) -> float:
    shifted = scaled - scaled.max(axis=1, keepdims=True)
    chosen = np.take_along_axis(shifted, truth[:, None], axis=1)[:, 0]
    return float((np.log(np.exp(shifted).sum(axis=1)) - chosen).sum())


@dataclass(frozen=True, slots=True)
class Reliability:
    """Confidence against accuracy in equal-width bins; all (bins,), NaN in empty ones."""

    confidence: npt.NDArray[np.float64]
    """Mean confidence of the bin."""
    accuracy: npt.NDArray[np.float64]
    """Share of right answers in the bin."""
    count: npt.NDArray[np.int64]

    @property
    def expected_calibration_error(self) -> float:
        """Mean distance of confidence and accuracy, weighted by samples; NaN without samples."""
        if not self.count.sum():
            return float("nan")
        filled = self.count > 0
        gap = np.abs(self.confidence[filled] - self.accuracy[filled])
        return float(np.average(gap, weights=self.count[filled]))

    def to_object(self) -> Mapping[str, Any]:
        """Return the filled bins for a report."""
        return {
            "expected_calibration_error": self.expected_calibration_error,
            "bins": [
                {"confidence": c, "accuracy": a, "count": n}
                for c, a, n in zip(
                    self.confidence.tolist(),
                    self.accuracy.tolist(),
                    self.count.tolist(),
                    strict=True,
                )
                if n
            ],
        }


def reliability(
    confidence: npt.NDArray[np.float64], right: Bools, *, bins: int = 15
) -> Reliability:
    """Sort answers into bins by confidence.

    Args:
        confidence: (N,) in [0, 1].
        right: (N,).
        bins: Number of bins of equal width.
    """
    index = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    count = np.bincount(index, minlength=bins)
    sums = [
        np.bincount(index, weights=values, minlength=bins)
        for values in (confidence, right.astype(np.float64))
    ]
    means = [np.divide(total, count, out=np.full(bins, np.nan), where=count > 0) for total in sums]
    return Reliability(means[0], means[1], count)
