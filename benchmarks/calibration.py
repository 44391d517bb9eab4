"""Whether confidence means what it says: temperatures, reliability and calibration error.

Temperature scaling after Guo et al., "On Calibration of Modern Neural Networks", ICML 2017: one
number per head divides its logits, chosen to minimise the negative log-likelihood on validation
data; expected calibration error as in their section 2, equal-width bins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from runtime.arrays import Bools, Floats
from runtime.errors import EngineError
from runtime.schema import Head, HeadKind

from .intervals import Share

__all__ = ["TEMPERATURE_RANGE", "Reliability", "fit_temperatures", "reliability"]

TEMPERATURE_RANGE: Final = (0.25, 8.0)
_PRIOR_SPREAD: Final = 0.5
"""Standard deviation of the prior on log T: a network is seldom off by more than a factor of e."""
_HEAD_SPREAD: Final = 0.2
"""Standard deviation of a head's log T around the one of all heads."""
_GOLDEN: Final = (sqrt(5) - 1) / 2

_Cost: TypeAlias = Callable[[float], float]
"""From log T to a negative log-likelihood."""


def fit_temperatures(
    heads: Sequence[Head],
    logits: Mapping[str, Floats],
    truths: Mapping[str, npt.NDArray[np.integer]],
) -> dict[str, float]:
    """Return per head the temperature under which the truth is most likely.

    A head's few mistakes say little about its own temperature, but all heads share one backbone:
    log T is shrunk towards that of all heads together, and this one towards 0 (partial pooling;
    Gelman et al., "Bayesian Data Analysis", 3rd ed., section 5.4). Without it T would fall for
    ever where validation data is separated perfectly, and every confidence round to 1. A few dozen
    wrong samples outweigh the priors. A head without truths gets the common T, 1 without any.

    Args:
        heads: The heads.
        logits: Head name to (N, K).
        truths: Head name to (N,) label indices of a choice head or (N, K) of 0 and 1; -1 where
            missing.

    Returns:
        Head name to a value within ``TEMPERATURE_RANGE``.

    Raises:
        EngineError: a logit is NaN or infinite.
    """
    costs = {head.name: _nll(head, logits[head.name], truths[head.name]) for head in heads}
    low, high = (log(bound) for bound in TEMPERATURE_RANGE)

    def together(log_t: float) -> float:
        return sum(cost(log_t) for cost in costs.values()) + 0.5 * (log_t / _PRIOR_SPREAD) ** 2

    common = _minimum(together, low, high)

    def fitted(cost: _Cost) -> float:
        best = _minimum(
            lambda log_t: cost(log_t) + 0.5 * ((log_t - common) / _HEAD_SPREAD) ** 2, low, high
        )
        return float(np.clip(exp(best), *TEMPERATURE_RANGE))

    return {name: fitted(cost) for name, cost in costs.items()}


def _nll(head: Head, logits: Floats, truth: npt.NDArray[np.integer]) -> _Cost:
    """Return the cost of a head's temperature on its known truths."""
    scores = np.asarray(logits, np.float64)
    if not np.isfinite(scores).all():
        raise EngineError(f"head {head.name!r}: NaN or infinite logits cannot be calibrated")
    known = truth >= 0
    if head.kind is HeadKind.LABELS:
        flat, present = scores[known], truth[known]

        def of_labels(log_t: float) -> float:
            scaled = flat * exp(-log_t)
            return float((np.logaddexp(0, scaled) - present * scaled).sum())

        return of_labels
    # Differences to the truth's logit: the likelihood of a softmax depends on nothing else.
    rows = scores[known]
    margins = rows - np.take_along_axis(rows, truth[known][:, None], axis=1)

    def of_choice(log_t: float) -> float:
        return float(np.logaddexp.reduce(margins * exp(-log_t), axis=1).sum())

    return of_choice


def _minimum(cost: _Cost, low: float, high: float) -> float:
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


@dataclass(frozen=True, slots=True)
class Reliability:
    """Confidence against accuracy in equal-width bins; all (bins,), NaN in empty ones."""

    confidence: npt.NDArray[np.float64]
    """Mean confidence of the bin."""
    accuracy: npt.NDArray[np.float64]
    """Share of right answers in the bin."""
    count: npt.NDArray[np.int64]

    @property
    def bounds(self) -> npt.NDArray[np.float64]:
        """(bins, 2) the 95 % Wilson interval of each bin's accuracy; (0, 1) in empty ones."""
        hits = np.rint(np.nan_to_num(self.accuracy) * self.count).astype(np.int64)
        pairs = zip(hits.tolist(), self.count.tolist(), strict=True)
        return np.array([Share(*pair).interval() for pair in pairs])

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
                {"confidence": c, "accuracy": a, "low": low, "high": high, "count": n}
                for c, a, (low, high), n in zip(
                    self.confidence.tolist(),
                    self.accuracy.tolist(),
                    self.bounds.tolist(),
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
