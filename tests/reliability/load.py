"""Open-loop load on a reader: requests arrive when they arrive, whatever the reader does."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.scenarios.arrivals import poisson_arrivals
from runtime.arrays import Images, Logits
from runtime.errors import DeadlineError, OverloadError
from runtime.reader import Reader
from runtime.results import Result
from runtime.session import Session

__all__ = ["Outcome", "SlowSession", "offer", "peak_per_s"]


class SlowSession:
    """A real engine that takes ``extra_s`` longer, so that its peak does not hang on the host."""

    def __init__(self, session: Session, extra_s: float) -> None:
        self._session = session
        self._extra_s = extra_s

    def run(self, images: Images) -> Logits:
        logits = self._session.run(images)
        time.sleep(self._extra_s)
        return logits

    def close(self) -> None:
        self._session.close()

    @property
    def description(self) -> Mapping[str, str]:
        return self._session.description


@dataclass
class Outcome:
    """What became of the requests of a run, by number."""

    offered: int = 0
    answered: dict[int, Result] = field(default_factory=dict)
    dropped: int = 0
    expired: int = 0
    failed: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    """From the intended arrival to the answer."""
    order: list[int] = field(default_factory=list)
    """Numbers in the order in which they were answered."""

    @property
    def lost(self) -> int:
        """Requests of which nobody ever heard again."""
        return self.offered - len(self.answered) - self.dropped - self.expired - self.failed

    @property
    def misordered(self) -> int:
        """Answers that came before one to an earlier request."""
        return int((np.diff(self.order) < 0).sum())

    def percentile_ms(self, percent: float) -> float:
        return float(np.percentile(self.latencies_ms, percent))


def offer(
    reader: Reader,
    images: Sequence[npt.NDArray[np.uint8]],
    *,
    rate: float,
    duration_s: float,
    seed: int = 0,
    watch: Callable[[], object] | None = None,
    **submit: Any,
) -> Outcome:
    """Submit images in turn at Poisson times, and wait until all have ended.

    Args:
        reader: Answers.
        images: Request n is image n modulo their number.
        rate: Requests per second.
        duration_s: For how long.
        seed: Of the arrivals.
        watch: Called after each request.
        submit: For ``Reader.submit``.
    """
    arrivals = poisson_arrivals(rate, round(rate * duration_s), seed=seed)
    outcome = Outcome(offered=len(arrivals))
    futures: list[Future[Result]] = []
    began_ns = time.perf_counter_ns()

    def ended(number: int, due_ns: int, future: Future[Result]) -> None:
        error = future.exception()
        if error is None:
            outcome.order.append(number)
            outcome.latencies_ms.append((time.perf_counter_ns() - due_ns) / 1e6)
            outcome.answered[number] = future.result()
        elif isinstance(error, DeadlineError):
            outcome.expired += 1
        elif isinstance(error, OverloadError):
            outcome.dropped += 1
        else:
            outcome.failed += 1

    for number, at_ns in enumerate(arrivals):
        due_ns = began_ns + int(at_ns)
        while (left_ns := due_ns - time.perf_counter_ns()) > 0:
            time.sleep(left_ns / 1e9)
        future = reader.submit(images[number % len(images)], tag=number, **submit)
        future.add_done_callback(lambda done, n=number, due=due_ns: ended(n, due, done))
        futures.append(future)
        if watch is not None:
            watch()
    for future in futures:
        future.exception(timeout=30)
    return outcome


def peak_per_s(reader: Reader, images: Sequence[npt.NDArray[np.uint8]], *, for_s: float) -> float:
    """Return how many images a second the reader answers, one submitted after the other."""
    began, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < for_s:
        reader.submit(images[count % len(images)]).result(30)
        count += 1
    return count / passed
