"""How sure a measured number is: intervals for shares and for percentiles.

Shares get the score interval of Wilson (JASA 22, 1927), which stays inside [0, 1] and holds at
0 and N hits. Percentiles get bounds from order statistics, which assume no distribution; the upper
one is the early-stopping estimate of MLPerf LoadGen (``early_stopping.cc``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log, log1p, nan, sqrt
from statistics import NormalDist
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = [
    "PERCENTILES",
    "Share",
    "min_queries",
    "quantile_bounds",
    "student_t",
    "wilson",
    "within",
]

PERCENTILES: Final[Mapping[str, float]] = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
"""Those that are told of every latency."""


def wilson(hits: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the two-sided Wilson interval of ``hits / total``; (0, 1) when ``total`` is 0."""
    if total == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = hits / total
    middle = share + z * z / (2 * total)
    reach = z * sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    # Rounding may put a bound past the share itself or past 0 or 1.
    low = max(0.0, min((middle - reach) / scale, share))
    high = min(1.0, max((middle + reach) / scale, share))
    return low, high


@dataclass(frozen=True, slots=True)
class Share:
    """``hits`` out of ``total`` samples."""

    hits: int
    total: int

    @classmethod
    def of(cls, right: npt.NDArray[np.bool_], given: npt.NDArray[np.bool_]) -> Share:
        """Count ``right`` among the samples that are ``given``, both (N,)."""
        return cls(int((right & given).sum()), int(given.sum()))

    @property
    def value(self) -> float:
        """The share in [0, 1]; NaN when there are no samples."""
        return self.hits / self.total if self.total else nan

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the two-sided Wilson interval."""
        return wilson(self.hits, self.total, confidence)

    def bounds(self, confidence: float) -> tuple[float, float]:
        """Return a lower and an upper bound, each alone holding with ``confidence`` > 0.5."""
        return wilson(self.hits, self.total, 2 * confidence - 1)

    def to_object(self) -> Mapping[str, Any]:
        """Return value, 95 % interval and counts for a report."""
        low, high = self.interval()
        return {
            "value": self.value,
            "low": low,
            "high": high,
            "hits": self.hits,
            "total": self.total,
        }

    def __str__(self) -> str:
        if not self.total:
            return "no samples"
        low, high = self.interval()
        return f"{self.value:.4f} ({low:.4f}-{high:.4f})"


def quantile_bounds(
    ordered: npt.NDArray[np.integer], quantile: float, confidence: float = 0.99
) -> tuple[float, float]:
    """Bound the quantile of the distribution that ``ordered`` was drawn from.

    Args:
        ordered: (N,) samples, ascending.
        quantile: In (0, 1), for example 0.99.
        confidence: Of each bound alone.

    Returns:
        Lower and upper bound in the unit of ``ordered``; 0 and infinity where N is too small.
    """
    count = len(ordered)
    tail = 1 - confidence
    # X(k) lies above the quantile when at most k - 1 samples lie below it.
    rank = int((_binomial_cdf(count, quantile) <= tail).sum())
    low = float(ordered[rank - 1]) if rank else 0.0
    # LoadGen's t: the most samples over the bound that still prove the quantile, at least 1.
    over = int((_binomial_cdf(count, 1 - quantile) <= tail).sum()) - 1
    high = float(ordered[count - over]) if over >= 1 else float("inf")
    return low, high


def within(over: int, total: int, quantile: float, confidence: float = 0.99) -> bool | None:
    """Tell whether a quantile lies within a limit, from how many samples lie over it.

    This is LoadGen's early-stopping rule for the Server scenario. It allows one sample more over
    the limit than ``quantile_bounds`` and LoadGen's estimate for the other scenarios do.

    Args:
        over: Samples over the limit.
        total: All samples.
        quantile: In (0, 1).
        confidence: Of the answer.

    Returns:
        True: proven to lie within; False: proven to lie over it; None: neither.
    """
    cdf = _binomial_cdf(total, 1 - quantile)
    if cdf[over] <= 1 - confidence:
        return True
    return False if over and 1 - cdf[over - 1] <= 1 - confidence else None


def min_queries(quantile: float, *, over: int = 1, confidence: float = 0.99) -> int:
    """Return the fewest samples that give ``quantile`` an upper bound.

    Args:
        quantile: In (0, 1).
        over: Samples that may lie above the bound; LoadGen reports from 1 on.
        confidence: Of the bound.
    """
    tail = 1 - confidence

    def enough(count: int) -> bool:
        return bool(_binomial_cdf(count, 1 - quantile)[over] <= tail)

    high = over + 1
    while not enough(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if middle > over and enough(middle) else (middle, high)
    return high


def _binomial_cdf(trials: int, share: float) -> npt.NDArray[np.float64]:
    """P(X <= k) for k = 0 .. trials, summed in logarithms because p^trials underflows."""
    hits = np.arange(1, trials + 1)
    steps = np.log((trials - hits + 1) / hits) + log(share) - log1p(-share)
    start = trials * log1p(-share)
    logs = np.concatenate([[start], start + np.cumsum(steps)])
    cdf: npt.NDArray[np.float64] = np.minimum(np.cumsum(np.exp(logs)), 1.0)
    return cdf


def student_t(confidence: float, freedom: int) -> float:
    """Return the quantile of Student's t distribution.

    By the expansion of Abramowitz and Stegun, 26.7.5: within 1 % from two degrees of freedom on up
    to 0.975, and from eight on up to 0.999.

    Args:
        confidence: In (0.5, 1).
        freedom: Degrees of freedom, at least 1.
    """
    z = NormalDist().inv_cdf(confidence)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(sum(term / freedom**power for power, term in enumerate(terms)))
