"""Serving queries that arrive by themselves, as a gateway does: workers, and a queue before them.

Arrivals are a schedule and not a second program, so nothing but the system under test uses the
machine. A worker that is free takes what has arrived by now, at most ``batch`` queries at once; if
there is nothing, it sleeps until the next one arrives. How late it wakes up counts as latency: a
gateway's thread has to be woken as well.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from benchmarks.noise import Noise, NoiseWatch
from runtime.results import Timings

from .turns import System

__all__ = ["Fifo", "NewestFrames", "Queue", "Served", "serve"]

NEVER: Final = -1
"""Time of what never happened."""


class Queue(Protocol):
    """Which of the queries that have arrived is served next."""

    def take(self, now_ns: int, most: int) -> list[int]:
        """Remove and return up to ``most`` queries that have arrived by now."""

    def next_ns(self) -> int | None:
        """Return when the first of those that are left arrives; None if none is left."""


class Fifo:
    """First come, first served; nothing is ever dropped.

    Args:
        arrivals_ns: (N,) ascending.
    """

    def __init__(self, arrivals_ns: npt.NDArray[np.int64]) -> None:
        self._arrivals: list[int] = arrivals_ns.tolist()
        self._first = 0

    def take(self, now_ns: int, most: int) -> list[int]:
        """See ``Queue``."""
        end = self._first
        last = min(end + most, len(self._arrivals))
        while end < last and self._arrivals[end] <= now_ns:
            end += 1
        taken = [*range(self._first, end)]
        self._first = end
        return taken

    def next_ns(self) -> int | None:
        """See ``Queue``."""
        return self._arrivals[self._first] if self._first < len(self._arrivals) else None


class NewestFrames:
    """One waiting frame per camera: a newer one replaces it, as an answer to the old is no use.

    Args:
        arrivals_ns: (F,) ascending.
        camera: (F,) who sent it, 0 .. C - 1.
    """

    def __init__(self, arrivals_ns: npt.NDArray[np.int64], camera: npt.NDArray[np.int64]) -> None:
        self._frames: list[list[int]] = [
            np.flatnonzero(camera == each).tolist() for each in range(int(camera.max()) + 1)
        ]
        self._times: list[list[int]] = [arrivals_ns[frames].tolist() for frames in self._frames]
        self._next = [0] * len(self._frames)

    def take(self, now_ns: int, most: int) -> list[int]:
        """See ``Queue``; the frame that has waited longest goes first."""
        waiting = []
        for sender, times in enumerate(self._times):
            place = bisect_right(times, now_ns) - 1
            if place >= self._next[sender]:
                waiting.append((times[place], sender, place))
        waiting.sort()
        for _, sender, place in waiting[:most]:
            self._next[sender] = place + 1
        return [self._frames[sender][place] for _, sender, place in waiting[:most]]

    def next_ns(self) -> int | None:
        """See ``Queue``."""
        left = [t[n] for t, n in zip(self._times, self._next, strict=True) if n < len(t)]
        return min(left, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What became of N queries; times in ns from the start of the run, ``NEVER`` if not served."""

    arrivals_ns: npt.NDArray[np.int64]
    """(N,) when each was to arrive."""
    started_ns: npt.NDArray[np.int64]
    """(N,) when the call that answered it began."""
    done_ns: npt.NDArray[np.int64]
    """(N,) when the call that answered it ended."""
    end_ns: int
    """When the run ended."""
    timings: Sequence[Timings]
    """Stages of the calls."""
    sizes: Sequence[int]
    """Queries of each call."""
    noise: Noise

    @property
    def answered(self) -> npt.NDArray[np.bool_]:
        """(N,) whether it was answered at all."""
        return np.not_equal(self.done_ns, NEVER)

    @property
    def latency_ns(self) -> npt.NDArray[np.int64]:
        """(N,) from the intended arrival to the answer, or to the end of the run without one."""
        return np.where(self.answered, self.done_ns, self.end_ns) - self.arrivals_ns

    @property
    def queue_ns(self) -> npt.NDArray[np.int64]:
        """(N,) from the intended arrival to the start of the call, or to the end without one."""
        return np.where(self.answered, self.started_ns, self.end_ns) - self.arrivals_ns


def serve(
    system: System,
    queue: Queue,
    arrivals_ns: npt.NDArray[np.int64],
    *,
    batch: int = 1,
    workers: int = 1,
    patience_s: float = float("inf"),
) -> Served:
    """Serve all queries of ``queue``.

    Args:
        system: Answers query i with crop i, counted round and round.
        queue: Of these arrivals.
        arrivals_ns: (N,).
        batch: Most queries of one call.
        workers: Threads that serve.
        patience_s: Stop so long after the last arrival, whatever still waits.

    Raises:
        EngineError: an answer was wrong, so that the run is void.
    """
    run = _Run(system, queue, len(arrivals_ns), batch)
    watch = NoiseWatch()
    run.start(int(arrivals_ns[-1]) / 1e9 + patience_s)
    if workers == 1:
        run.work()
    else:
        with ThreadPoolExecutor(workers) as pool:
            for each in [pool.submit(run.work) for _ in range(workers)]:
                each.result()
    return Served(
        arrivals_ns=arrivals_ns,
        started_ns=run.started_ns,
        done_ns=run.done_ns,
        end_ns=run.now_ns(),
        timings=run.timings,
        sizes=run.sizes,
        noise=watch.read(),
    )


class _Run:
    """What the workers of one run share."""

    def __init__(self, system: System, queue: Queue, count: int, batch: int) -> None:
        self.started_ns = np.full(count, NEVER, np.int64)
        self.done_ns = np.full(count, NEVER, np.int64)
        self.timings: list[Timings] = []
        self.sizes: list[int] = []
        self._system, self._queue, self._batch = system, queue, batch
        self._lock = threading.Lock()
        self._failed = False
        self._zero_ns = self._stop_s = 0.0

    def start(self, stop_s: float) -> None:
        self._stop_s = stop_s
        self._zero_ns = time.perf_counter_ns()

    def now_ns(self) -> int:
        return int(time.perf_counter_ns() - self._zero_ns)

    def work(self) -> None:
        """Serve until nothing is left."""
        crops = self._system.crops
        while taken := self._take():
            samples = [query % crops for query in taken]
            began = self.now_ns()
            try:
                answers = self._system.answer(samples)
                done = self.now_ns()
                timings = self._system.check(samples, answers)
            except BaseException:
                self._failed = True  # so that the other workers stop as well
                raise
            self.started_ns[taken], self.done_ns[taken] = began, done
            self.sizes.append(len(taken))
            if timings is not None:
                self.timings.append(timings)

    def _take(self) -> list[int]:
        # One worker waits for the next arrival, the others for the lock: nobody is woken in vain.
        with self._lock:
            while not self._failed and (now := self.now_ns()) < self._stop_s * 1e9:
                taken = self._queue.take(now, self._batch)
                if taken:
                    return taken
                arrival = self._queue.next_ns()
                if arrival is None:
                    break
                time.sleep(max(0, arrival - self.now_ns()) / 1e9)
        return []
