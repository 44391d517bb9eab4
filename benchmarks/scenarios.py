"""How time is measured, in the words of MLPerf's LoadGen.

A *query* is one call that returns only when its result is on the host; a *sample* is one image.

- **SingleStream**: the next query starts when the one before has ended. Result: percentiles of
  query latency. It answers "how long does one crop take"; it says nothing about queues.
- **Offline**: all samples are there at the start and go in batches. Result: samples per second.
- **Interleaved** (ours): several callables take turns in one process, in random order every
  round, so that a drift of the machine hits all alike. Result: medians and speedups.

Every scenario first warms up until the timing is stable, runs at least the given time and number
of queries, and watches what other processes use (see ``noise``). The caller fixes the number of
threads when it opens the engine. A percentile of a latency is reported only from as many queries
on as prove it with 99 % confidence: 64 for p90, 662 for p99 (``intervals.min_queries``).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from runtime.errors import ConfigError

from .intervals import min_queries, quantile_bounds
from .noise import Noise, NoiseWatch

__all__ = [
    "PERCENTILES",
    "Comparison",
    "Latency",
    "Query",
    "Speedup",
    "Throughput",
    "WarmUp",
    "compare_interleaved",
    "offline",
    "single_stream",
    "warm_up",
]

Query: TypeAlias = Callable[[], object]
PERCENTILES: Final[Mapping[str, float]] = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
_FLOORS: Final[Mapping[float, int]] = {q: min_queries(q) for q in PERCENTILES.values()}
_NS_PER_MS: Final = 1e6
_RESAMPLES: Final = 2000


@dataclass(frozen=True, slots=True)
class WarmUp:
    """What warming up found."""

    runs: int
    median_s: float
    stable: bool
    """Whether the last block medians agreed within 5 %; False: time ran out before."""


@dataclass(frozen=True, slots=True)
class Latency:
    """How long each query took, one after the other."""

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
        return float(np.quantile(self._ordered, quantile)) / _NS_PER_MS

    def bounds_ms(self, quantile: float, confidence: float = 0.99) -> tuple[float, float]:
        """Return a lower and an upper bound of the true percentile, each with ``confidence``.

        The upper one is LoadGen's early-stopping estimate. 0 and infinity where queries are few.
        """
        low, high = quantile_bounds(self._ordered, quantile, confidence)
        return low / _NS_PER_MS, high / _NS_PER_MS

    def to_object(self) -> Mapping[str, Any]:
        """Return percentiles, bounds and noise for a report."""
        return {
            "queries": self.count,
            "percentiles_ms": {name: self.percentile_ms(q) for name, q in PERCENTILES.items()},
            "bounds_ms": {name: self.bounds_ms(q) for name, q in PERCENTILES.items()},
            "warm_up": self.warm and {"runs": self.warm.runs, "stable": self.warm.stable},
            **self.noise.to_object(),
        }


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


def warm_up(query: Query, *, min_runs: int = 50, min_s: float = 1.0, max_s: float = 5.0) -> WarmUp:
    """Call ``query`` until its timing is stable.

    That is: after ``min_runs`` calls or ``min_s`` seconds, whichever comes first, once the medians
    of the last three blocks (ten calls, or 0.2 s of slower ones) agree within 5 %; at the latest
    after ``max_s`` seconds.
    """
    start = time.perf_counter()
    runs, medians = 0, list[float]()
    while True:
        block, block_start = list[float](), time.perf_counter()
        while not block or (len(block) < 10 and time.perf_counter() - block_start < 0.2):
            block.append(_once_ns(query) / 1e9)
        runs += len(block)
        medians.append(median(block))
        elapsed = time.perf_counter() - start
        last = medians[-3:]
        stable = len(last) == 3 and max(last) <= 1.05 * min(last)
        if (stable and (runs >= min_runs or elapsed >= min_s)) or elapsed >= max_s:
            return WarmUp(runs, medians[-1], stable)


def single_stream(
    query: Query,
    *,
    min_queries: int = 64,
    min_duration_s: float = 5.0,
    max_duration_s: float = 60.0,
) -> Latency:
    """Time ``query`` back to back, after warming up.

    Args:
        query: Returns only once its result is on the host.
        min_queries: Run at least this many; 64 give a p90, 662 a p99.
        min_duration_s: Run at least this long.
        max_duration_s: Stop after this long even with fewer queries.
    """
    # Never much longer than the measurement itself.
    warm = warm_up(query, max_s=min(5.0, max(1.0, min_duration_s)))
    times, watch, clock = list[int](), NoiseWatch(), time.perf_counter_ns
    start = clock()
    least, most = start + min_duration_s * 1e9, start + max_duration_s * 1e9
    now = start
    while not times or (now < most and (now < least or len(times) < min_queries)):
        began = clock()
        query()
        now = clock()
        times.append(now - began)
    return Latency(np.array(times, np.int64), watch.read(), warm)


def offline(query: Query, *, batch: int, min_duration_s: float = 5.0) -> Throughput:
    """Measure samples per second of a query that scores ``batch`` samples.

    Raises:
        ConfigError: ``batch`` is below 1.
    """
    if batch < 1:
        raise ConfigError(f"batch must be at least 1, got {batch}")
    run = single_stream(
        query, min_queries=3, min_duration_s=min_duration_s, max_duration_s=10 * min_duration_s
    )
    return Throughput(batch, run.queries_ns, run.noise)


@dataclass(frozen=True, slots=True)
class Speedup:
    """How many times faster than the first callable."""

    rounds: npt.NDArray[np.float64]
    """(rounds,) ratio of the block medians: first over this one."""

    @property
    def value(self) -> float:
        """Median over rounds; above 1 is faster than the first."""
        return float(np.median(self.rounds))

    def bounds(self, confidence: float) -> tuple[float, float]:
        """Return paired bootstrap bounds over rounds, each alone with ``confidence``."""
        generator = np.random.default_rng(0)
        size = len(self.rounds)
        medians = np.median(self.rounds[generator.integers(0, size, (_RESAMPLES, size))], axis=1)
        low, high = np.quantile(medians, [1 - confidence, confidence])
        return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Interleaved: several callables on the same machine at the same time."""

    blocks_ms: Mapping[str, npt.NDArray[np.float64]]
    """Name to (rounds,) block medians, first callable first."""
    noise: Noise

    @property
    def medians_ms(self) -> Mapping[str, float]:
        """Name to median over rounds."""
        return {name: float(np.median(blocks)) for name, blocks in self.blocks_ms.items()}

    @property
    def speedups(self) -> Mapping[str, Speedup]:
        """Name to speedup against the first callable, whose own is 1."""
        first = next(iter(self.blocks_ms.values()))
        return {name: Speedup(first / blocks) for name, blocks in self.blocks_ms.items()}

    def to_object(self) -> Mapping[str, Any]:
        """Return medians, speedups with 95 % intervals and noise for a report."""
        return {
            "scenario": "interleaved",
            "rounds": len(next(iter(self.blocks_ms.values()))),
            "medians_ms": self.medians_ms,
            "speedups": {
                name: {"value": ratio.value, "bounds": ratio.bounds(0.975)}
                for name, ratio in self.speedups.items()
            },
            **self.noise.to_object(),
        }


def compare_interleaved(
    queries: Mapping[str, Query], *, rounds: int = 40, block_s: float = 0.02, seed: int = 0
) -> Comparison:
    """Time several callables by turns.

    Every round runs each callable once for about ``block_s`` seconds, at least three queries, in
    random order, and keeps the median; the first query of a block only brings its data back into
    the caches.

    Args:
        queries: Name to callable; the first is what the others are compared with.
        rounds: Number of rounds, at least 5.
        block_s: Length of a block.
        seed: Of the order within rounds.

    Raises:
        ConfigError: fewer than two callables or fewer than five rounds.
    """
    if len(queries) < 2 or rounds < 5:
        raise ConfigError(
            f"a comparison needs two callables and five rounds, got {[*queries]} and {rounds}"
        )
    for query in queries.values():
        warm_up(query, max_s=2.0)
    order = random.Random(seed)
    blocks: dict[str, list[float]] = {name: [] for name in queries}
    watch = NoiseWatch()
    for _ in range(rounds):
        for name in order.sample([*queries], len(queries)):
            blocks[name].append(_block_ms(queries[name], block_s))
    return Comparison({name: np.array(values) for name, values in blocks.items()}, watch.read())


def _block_ms(query: Query, block_s: float) -> float:
    query()
    times, end = list[int](), time.perf_counter() + block_s
    while len(times) < 3 or time.perf_counter() < end:
        times.append(_once_ns(query))
    return median(times) / _NS_PER_MS


def _once_ns(query: Query) -> int:
    began = time.perf_counter_ns()
    query()
    return time.perf_counter_ns() - began
