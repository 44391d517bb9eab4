"""Many times of one kind: percentiles, and how sure they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.intervals import PERCENTILES, min_queries, quantile_bounds
from benchmarks.noise import Noise
from runtime.results import Timings

from .warming import WarmUp

__all__ = ["NS_PER_MS", "TOLD_CONFIDENCE", "Latency", "stages_of"]

NS_PER_MS: Final = 1e6
TOLD_CONFIDENCE: Final = 0.99
"""Of the bounds that a report holds."""
_PER_DECADE: Final = 60
"""Bins of a histogram; each is 3.9 % wide."""
_PARTS: Final = 60
_FLOORS: Final[Mapping[float, int]] = {q: min_queries(q) for q in PERCENTILES.values()}


@dataclass(frozen=True, slots=True)
class Latency:
    """How long each query took."""

    queries_ns: npt.NDArray[np.int64]
    """(N,) in the order they ran."""
    noise: Noise
    warm: WarmUp | None = None
    """None where every query is to be cold."""
    _ordered: npt.NDArray[np.int64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ordered", np.sort(self.queries_ns))

    @property
    def count(self) -> int:
        """Number of queries."""
        return len(self.queries_ns)

    def percentile_ms(self, quantile: float) -> float | None:
        """Return the observed percentile; None below the number of queries that proves one."""
        floor = _FLOORS.get(quantile) or min_queries(quantile)
        if self.count < floor:
            return None
        return float(np.quantile(self._ordered, quantile)) / NS_PER_MS

    def bounds_ms(
        self, quantile: float, confidence: float = TOLD_CONFIDENCE
    ) -> tuple[float, float]:
        """Return a lower and an upper bound of the true percentile, each with ``confidence``.

        The upper one is LoadGen's early-stopping estimate. 0 and infinity where queries are few.
        """
        low, high = quantile_bounds(self._ordered, quantile, confidence)
        return low / NS_PER_MS, high / NS_PER_MS

    def histogram(self) -> Mapping[str, Any]:
        """Return how many queries took how long, in bins that are the same for every result.

        Bin i holds times from ``10 ** ((first + i) / per_decade)`` ms on, up to the next bin.
        """
        if not self.count:
            return {"per_decade": _PER_DECADE, "first": 0, "counts": []}
        times_ms = np.maximum(self._ordered, 1) / NS_PER_MS
        bins = np.floor(np.log10(times_ms) * _PER_DECADE).astype(np.int64)
        counts = np.bincount(bins - bins[0])
        return {"per_decade": _PER_DECADE, "first": int(bins[0]), "counts": counts}

    def over_time_ms(self) -> Mapping[str, Any]:
        """Return median and largest time of up to 60 parts of the run, equally many queries each.

        Clocks that fall and others that come and go show here.
        """
        parts = np.array_split(self.queries_ns, min(_PARTS, self.count)) if self.count else []
        return {
            "p50": [float(np.median(part)) / NS_PER_MS for part in parts],
            "max": [float(part.max()) / NS_PER_MS for part in parts],
        }

    def to_object(self) -> Mapping[str, Any]:
        """Return percentiles, bounds, what they are made of, and noise for a report."""
        return {
            "queries": self.count,
            "percentiles_ms": {name: self.percentile_ms(q) for name, q in PERCENTILES.items()},
            "bounds_ms": {name: self.bounds_ms(q) for name, q in PERCENTILES.items()},
            "histogram": self.histogram(),
            "over_time_ms": self.over_time_ms(),
            "warm_up": self.warm and {"runs": self.warm.runs, "stable": self.warm.stable},
            **self.noise.to_object(),
        }


def stages_of(timings: Sequence[Timings], noise: Noise) -> Mapping[str, Latency]:
    """Return the stages of engine calls: ``prepare``, ``engine`` and ``decode``; none of none."""
    if not timings:
        return {}
    columns = np.array([(each.prepare, each.engine, each.decode) for each in timings], np.int64)
    names = ("prepare", "engine", "decode")
    return {name: Latency(columns[:, place], noise) for place, name in enumerate(names)}
