"""The two loads: connections that ask again at once, and requests that arrive by themselves."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from queue import LifoQueue
from time import perf_counter_ns
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.processes import cpu_s
from benchmarks.rates import Rates, Way, Worker, interleaved_rates
from benchmarks.scenarios import Speedup
from benchmarks.scenarios.arrivals import poisson_arrivals
from benchmarks.scenarios.open_loop import Fifo, serve

from .connection import Connection, Reply
from .subject import Subject

__all__ = ["Closed", "Open", "closed_loop", "open_loop"]

_PATIENCE_S: Final = 1.0
"""After the last arrival; what still waits then is given up, and counts with its time so far."""


@dataclass(frozen=True, slots=True)
class Closed:
    """What came of asking again and again."""

    connections: int
    rates: Rates
    """Requests per second, server to (rounds,)."""
    latency_ns: Mapping[str, npt.NDArray[np.int64]]
    """Server to (requests,): from sending to the answer, all turns."""
    cpu_us: Mapping[str, npt.NDArray[np.float64]]
    """Server to (rounds,): processor time of its process per request; those whose pid is known."""

    def cpu_ratio(self, name: str, reference: str) -> Speedup | None:
        """Return how the processor time per request compares, round by round."""
        if name not in self.cpu_us or reference not in self.cpu_us:
            return None
        return Speedup(self.cpu_us[name] / self.cpu_us[reference])


@dataclass(frozen=True, slots=True)
class Open:
    """What came of requests at a rate, from the moment that each was to arrive."""

    rate: float
    latency_ns: Mapping[str, npt.NDArray[np.int64]]
    """Server to (requests,), all blocks."""
    medians_ns: Mapping[str, npt.NDArray[np.float64]]
    """Server to (rounds,)."""
    unanswered: Mapping[str, int]

    def ratio(self, name: str, reference: str) -> Speedup:
        """Return how the median latencies compare, round by round."""
        return Speedup(self.medians_ns[name] / self.medians_ns[reference])


class _Asker:
    """One connection that asks crop after crop; a ``Worker``."""

    def __init__(self, subject: Subject, connection: Connection, first: int) -> None:
        self._subject, self._connection = subject, connection
        self._next = first
        self._replies: list[tuple[int, Reply]] = []
        self.times_ns: list[int] = []

    def __call__(self, until_s: float) -> int:
        requests, exchange = self._subject.requests, self._connection.exchange
        first, now = self._next, perf_counter_ns()
        while now < until_s * 1e9 or self._next == first:  # at least one, however late it began
            place = self._next % len(requests)
            began = now
            self._replies.append((place, exchange(requests[place])))
            now = perf_counter_ns()
            self.times_ns.append(now - began)
            self._next += 1
        return self._next - first

    def check(self) -> int:
        """Check all answers since the last time; return how many there were."""
        count = len(self._replies)
        for place, reply in self._replies:
            self._subject.check(place, reply)
        self._replies.clear()
        return count


class _Crew:
    """The connections to one server, and what they cost its process."""

    def __init__(self, subject: Subject, askers: Sequence[_Asker]) -> None:
        self._pid = subject.pid
        self._askers = askers
        self._before_s = 0.0
        self.cpu_us: list[float] = []

    @property
    def way(self) -> Way:
        first, *others = self._askers
        return Way(workers=[self._begin(first), *others], checks=[self._end])

    def _begin(self, asker: _Asker) -> Worker:
        def work(until_s: float) -> int:
            if self._pid is not None:
                self._before_s = cpu_s(self._pid)
            return asker(until_s)

        return work

    def _end(self) -> None:
        after_s = None if self._pid is None else cpu_s(self._pid)
        count = sum(asker.check() for asker in self._askers)
        if after_s is not None:
            self.cpu_us.append((after_s - self._before_s) / count * 1e6)

    def times_ns(self) -> npt.NDArray[np.int64]:
        return np.concatenate([np.array(asker.times_ns, np.int64) for asker in self._askers])


def closed_loop(
    subjects: Sequence[Subject], *, connections: int, rounds: int, turn_s: float
) -> Closed:
    """Ask all servers by turns, on so many connections each.

    Args:
        subjects: What to ask.
        connections: Kept ones per server, each with a thread here.
        rounds: In each, every server has one turn.
        turn_s: Least seconds of a turn.

    Raises:
        EngineError: an answer was wrong, so that the run is void, or did not come.
    """
    with ExitStack() as stack:

        def crew(subject: Subject) -> _Crew:
            step = max(1, len(subject.requests) // connections)
            askers = [
                _Asker(subject, stack.enter_context(closing(Connection(subject.server.url))), at)
                for at in range(0, step * connections, step)
            ]
            return _Crew(subject, askers)

        crews = {subject.server.name: crew(subject) for subject in subjects}
        ways = {name: each.way for name, each in crews.items()}
        rates = interleaved_rates(ways, rounds=rounds, turn_s=turn_s)
    return Closed(
        connections,
        rates,
        {name: each.times_ns() for name, each in crews.items()},
        # The first turn warms up.
        {name: np.array(each.cpu_us[1:]) for name, each in crews.items() if each.cpu_us},
    )


class _Arrivals:
    """A server as a ``System``; whoever asks takes a connection that is free."""

    def __init__(self, subject: Subject, connections: Sequence[Connection]) -> None:
        self._subject = subject
        self._free: LifoQueue[Connection] = LifoQueue()
        for connection in connections:
            self._free.put(connection)

    @property
    def crops(self) -> int:
        return len(self._subject.requests)

    def answer(self, samples: Sequence[int]) -> Reply:
        connection = self._free.get()
        try:
            return connection.exchange(self._subject.requests[samples[0]])
        finally:
            self._free.put(connection)

    def check(self, samples: Sequence[int], answers: Reply) -> None:
        self._subject.check(samples[0], answers)


def open_loop(
    subjects: Sequence[Subject],
    *,
    rate: float,
    connections: int,
    rounds: int,
    block_s: float,
    seed: int = 0,
) -> Open:
    """Let requests arrive at random at a rate, at each server by turns.

    In a round all servers get the same arrivals. A request that finds all connections taken waits
    for one, and its latency counts that.

    Args:
        subjects: What to ask.
        rate: Requests per second.
        connections: Kept ones, each with a thread here.
        rounds: Blocks per server.
        block_s: Seconds of a block, about.
        seed: Of the order and the arrivals.

    Raises:
        EngineError: an answer was wrong, so that the run is void, or did not come.
    """
    order = random.Random(seed)
    found: dict[str, list[npt.NDArray[np.int64]]] = {s.server.name: [] for s in subjects}
    unanswered = dict.fromkeys(found, 0)
    with ExitStack() as stack:
        systems = {
            each.server.name: _Arrivals(
                each,
                [
                    stack.enter_context(closing(Connection(each.server.url)))
                    for _ in range(connections)
                ],
            )
            for each in subjects
        }
        for turn in range(rounds):
            arrivals_ns = poisson_arrivals(rate, max(1, round(rate * block_s)), seed=seed + turn)
            for name in order.sample([*systems], len(systems)):
                served = serve(
                    systems[name],
                    Fifo(arrivals_ns),
                    arrivals_ns,
                    workers=connections,
                    patience_s=_PATIENCE_S,
                )
                found[name].append(served.latency_ns)
                unanswered[name] += int((~served.answered).sum())
    return Open(
        rate,
        {name: np.concatenate(blocks) for name, blocks in found.items()},
        {name: np.array([np.median(b) for b in blocks]) for name, blocks in found.items()},
        unanswered,
    )
