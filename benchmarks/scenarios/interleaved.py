"""Callables that take turns, so that whatever slows the machine down slows all of them."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.noise import Noise, NoiseWatch
from runtime.errors import ConfigError

from . import warming
from .latencies import NS_PER_MS
from .turns import check_answer
from .warming import Query, time_once

__all__ = ["Comparison", "Speedup", "compare_interleaved"]

_RESAMPLES: Final = 2000


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
    the caches. Its answer and that of the last timed one are checked if the query is one of
    ``Turns``: more would put other work between the queries of a block.

    Args:
        queries: Name to callable; the first is what the others are compared with.
        rounds: Number of rounds, at least 5.
        block_s: Length of a block.
        seed: Of the order within rounds.

    Raises:
        ConfigError: fewer than two callables or fewer than five rounds.
        EngineError: an answer was wrong, so that the comparison is void.
    """
    if len(queries) < 2 or rounds < 5:
        raise ConfigError(
            f"a comparison needs two callables and five rounds, got {[*queries]} and {rounds}"
        )
    for query in queries.values():
        warming.warm_up(query, max_s=2.0)
    order = random.Random(seed)
    blocks: dict[str, list[float]] = {name: [] for name in queries}
    watch = NoiseWatch()
    for _ in range(rounds):
        for name in order.sample([*queries], len(queries)):
            blocks[name].append(_block_ms(queries[name], block_s))
    return Comparison({name: np.array(values) for name, values in blocks.items()}, watch.read())


def _block_ms(query: Query, block_s: float) -> float:
    check_answer(query, query())
    times, answer, end = list[int](), object(), time.perf_counter() + block_s
    while len(times) < 3 or time.perf_counter() < end:
        took_ns, answer = time_once(query)
        times.append(took_ns)
    check_answer(query, answer)
    return median(times) / NS_PER_MS
