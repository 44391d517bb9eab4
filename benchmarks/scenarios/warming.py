"""Calling a query until its timing is stable: what a cold engine does is no steady state."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import TypeAlias

__all__ = ["Query", "WarmUp", "time_once", "warm_up"]

Query: TypeAlias = Callable[[], object]


@dataclass(frozen=True, slots=True)
class WarmUp:
    """What warming up found."""

    runs: int
    median_s: float
    stable: bool
    """Whether the last block medians agreed within 5 %; False: time ran out before."""


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
            block.append(time_once(query)[0] / 1e9)
        runs += len(block)
        medians.append(median(block))
        elapsed = time.perf_counter() - start
        last = medians[-3:]
        stable = len(last) == 3 and max(last) <= 1.05 * min(last)
        if (stable and (runs >= min_runs or elapsed >= min_s)) or elapsed >= max_s:
            return WarmUp(runs, medians[-1], stable)


def time_once(query: Query) -> tuple[int, object]:
    """Return how many nanoseconds one call takes, and its answer."""
    began = time.perf_counter_ns()
    answer = query()
    return time.perf_counter_ns() - began, answer
