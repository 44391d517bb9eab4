"""How many reads per second several ways of reading reach, by turns, each with its threads."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from runtime.errors import ConfigError

from .noise import Noise, NoiseWatch
from .scenarios import Speedup

__all__ = ["Rates", "Way", "Worker", "calls_until", "interleaved_rates"]

Worker: TypeAlias = Callable[[float], int]
"""Reads until ``perf_counter()`` says so, and returns how many images it read; one thread.

At least one, however late it begins: a turn without an image has no rate.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way of reading."""

    workers: Sequence[Worker]
    """One per thread."""
    checks: Sequence[Callable[[], None]] = ()
    """Called after each turn, untimed; raise where an answer was wrong."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What the ways reached."""

    per_s: Mapping[str, npt.NDArray[np.float64]]
    """Way to (rounds,) images per second."""
    noise: Noise

    def median(self, way: str) -> float:
        """Return images per second, the median over rounds."""
        return float(np.median(self.per_s[way]))

    def ratio(self, way: str, reference: str) -> Speedup:
        """Return how the rates of two ways compare, round by round."""
        return Speedup(self.per_s[way] / self.per_s[reference])

    def extra_us(self, way: str, reference: str) -> float:
        """Return what an image takes longer than the other way, microseconds."""
        return float(np.median(1e6 / self.per_s[way] - 1e6 / self.per_s[reference]))


def calls_until(until_s: float) -> Iterator[int]:
    """Yield 0, 1, ... until ``perf_counter()`` says so; 0 also where that is over already."""
    yield 0
    calls = 1
    while perf_counter() < until_s:
        yield calls
        calls += 1


def interleaved_rates(
    ways: Mapping[str, Way], *, rounds: int, turn_s: float, seed: int = 0
) -> Rates:
    """Let all ways read by turns, so that whatever slows the machine down slows all of them.

    Args:
        ways: Name to way.
        rounds: In each, every way has one turn, in random order; at least 3.
        turn_s: Least seconds of a turn, > 0.
        seed: Of the order.

    Raises:
        ConfigError: too few rounds or no time.
    """
    if rounds < 3 or not turn_s > 0:
        raise ConfigError(
            f"rates need at least 3 rounds of more than 0 s, got {rounds} of {turn_s}"
        )
    order = random.Random(seed)
    found: dict[str, list[float]] = {name: [] for name in ways}
    most = max(len(way.workers) for way in ways.values())
    with ThreadPoolExecutor(most) as threads:
        for way in ways.values():  # engines warm up
            _turn(way, threads, turn_s / 2)
        watch = NoiseWatch()
        for _ in range(rounds):
            for name in order.sample([*ways], len(ways)):
                found[name].append(_turn(ways[name], threads, turn_s))
        noise = watch.read()
    return Rates({name: np.array(values) for name, values in found.items()}, noise)


def _turn(way: Way, threads: ThreadPoolExecutor, turn_s: float) -> float:
    """Return images per second."""
    began = perf_counter()
    until = began + turn_s
    if len(way.workers) == 1:
        count = way.workers[0](until)
    else:
        count = sum(threads.map(lambda work: work(until), way.workers))
    rate = count / (perf_counter() - began)
    for check in way.checks:
        check()
    return rate
