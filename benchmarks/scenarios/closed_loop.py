"""Scenarios in which the next query waits for the one before: SingleStream, MultiStream, Offline.

They ask how long a query takes on an idle system. What a queue adds is for ``server`` and
``camera`` to say.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.intervals import min_queries as queries_for
from benchmarks.noise import Noise, NoiseWatch
from runtime.errors import ConfigError

from . import warming
from .latencies import Latency
from .turns import check_answer
from .warming import Query

__all__ = ["STREAMS", "Throughput", "multi_stream", "offline", "single_stream"]

STREAMS: Final = 8
"""Samples of a MultiStream query, as in MLPerf."""
_RESAMPLES: Final = 2000


@dataclass(frozen=True, slots=True)
class Throughput:
    """Offline: samples per second."""

    batch: int
    queries_ns: npt.NDArray[np.int64]
    """(N,) time of every batch."""
    noise: Noise

    @property
    def samples_per_s(self) -> float:
        """All samples over all time."""
        return self.batch * len(self.queries_ns) / (float(self.queries_ns.sum()) / 1e9)

    def bounds(self, confidence: float) -> tuple[float, float]:
        """Return bootstrap bounds of ``samples_per_s``, each alone with ``confidence``."""
        generator = np.random.default_rng(0)
        size = len(self.queries_ns)
        means = self.queries_ns[generator.integers(0, size, (_RESAMPLES, size))].mean(axis=1)
        slow, fast = np.quantile(means, [confidence, 1 - confidence])
        return self.batch * 1e9 / float(slow), self.batch * 1e9 / float(fast)

    def to_object(self) -> Mapping[str, Any]:
        """Return rate, bounds and noise for a report."""
        return {
            "scenario": "offline",
            "batch": self.batch,
            "queries": len(self.queries_ns),
            "samples_per_s": self.samples_per_s,
            "bounds": self.bounds(0.975),
            **self.noise.to_object(),
        }


def single_stream(
    query: Query,
    *,
    min_queries: int = 64,
    min_duration_s: float = 5.0,
    max_duration_s: float = 60.0,
) -> Latency:
    """Time ``query`` back to back, after warming up.

    Args:
        query: Returns only once its result is on the host. Answers of ``Turns`` are checked.
        min_queries: Run at least this many; 64 give a p90, 662 a p99.
        min_duration_s: Run at least this long.
        max_duration_s: Stop after this long even with fewer queries, but never before
            ``min_duration_s``.

    Raises:
        EngineError: an answer was wrong, so that the run is void.
    """
    # Never much longer than the measurement itself.
    warm = warming.warm_up(query, max_s=min(5.0, max(1.0, min_duration_s)))
    times, watch, clock = list[int](), NoiseWatch(), time.perf_counter_ns
    start = clock()
    least = start + min_duration_s * 1e9
    most = max(least, start + max_duration_s * 1e9)
    now = start
    while not times or (now < most and (now < least or len(times) < min_queries)):
        began = clock()
        answer = query()
        now = clock()
        times.append(now - began)
        check_answer(query, answer)
    return Latency(np.array(times, np.int64), watch.read(), warm)


def multi_stream(
    query: Query, *, min_duration_s: float = 5.0, max_duration_s: float = 60.0
) -> Latency:
    """Time a query of several samples back to back: what a frame with many objects takes.

    Runs at least the 662 queries that prove MLPerf's p99 of a query, if time allows.

    Raises:
        EngineError: an answer was wrong, so that the run is void.
    """
    return single_stream(
        query,
        min_queries=queries_for(0.99),
        min_duration_s=min_duration_s,
        max_duration_s=max_duration_s,
    )


def offline(query: Query, *, batch: int, min_duration_s: float = 5.0) -> Throughput:
    """Measure samples per second of a query that scores ``batch`` samples.

    Raises:
        ConfigError: ``batch`` is below 1.
        EngineError: an answer was wrong, so that the run is void.
    """
    if batch < 1:
        raise ConfigError(f"batch must be at least 1, got {batch}")
    run = single_stream(
        query, min_queries=3, min_duration_s=min_duration_s, max_duration_s=10 * min_duration_s
    )
    return Throughput(batch, run.queries_ns, run.noise)
