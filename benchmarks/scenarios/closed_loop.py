"""Scenarios in which the next query waits for the one before: SingleStream, MultiStream, Offline.

They ask how long a query takes on an idle system. What a queue adds is for ``server`` and
``camera`` to say.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, sqrt
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.intervals import min_queries as queries_for
from benchmarks.intervals import student_t
from benchmarks.noise import Noise, NoiseWatch
from runtime.errors import ConfigError

from . import warming
from .latencies import Latency
from .turns import check_answer
from .warming import Query

__all__ = ["STREAMS", "Throughput", "multi_stream", "offline", "single_stream"]

STREAMS: Final = 8
"""Samples of a MultiStream query, as in MLPerf."""
_BLOCKS: Final = 10


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
        """Return bounds of ``samples_per_s``, each alone with ``confidence``.

        Queries one after the other are alike: clocks and neighbours drift for longer than one. So
        the run is cut into ten blocks, whose means hardly depend on each other, and these are the
        sample (batch means: Schmeiser, Operations Research 30, 1982, who advises 10 to 30;
        Carlstein, Annals of Statistics 14, 1986). By Student's t rather than a bootstrap, which is
        too narrow for ten.
        """
        # The same number of queries each; the few that are left over only count in the rate.
        size = max(1, len(self.queries_ns) // _BLOCKS)
        count = len(self.queries_ns) // size
        blocks = self.queries_ns[: count * size].reshape(count, size).mean(axis=1)
        if count < 2:
            return 0.0, inf
        mean = float(self.queries_ns.mean())
        reach = student_t(confidence, count - 1) * float(blocks.std(ddof=1)) / sqrt(count)
        fastest, per_s = mean - reach, self.batch * 1e9
        return per_s / (mean + reach), per_s / fastest if fastest > 0 else inf

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
