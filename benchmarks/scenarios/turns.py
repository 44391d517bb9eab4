"""What is timed: a system that answers numbered crops, and queries that take these by turns.

An engine that is fast and wrong is worth nothing, and some go wrong only under load: a buffer that
is reused too early, two threads in one context, a device that runs too hot. So the answers of the
timed run itself are compared with known ones, as MLPerf's compliance test TEST01 does; between
queries, where it costs no latency.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from math import gcd
from typing import Any, Protocol

from runtime.results import Timings

from .warming import Query

__all__ = ["System", "Turns", "check_answer"]


class System(Protocol):
    """Answers crops 0 .. ``crops`` - 1, whose right answers it knows."""

    @property
    def crops(self) -> int:
        """Number of different crops, at least 1."""

    def answer(self, samples: Sequence[int]) -> Any:
        """Return the answers to some crops, which were asked at once; this is what is timed."""

    def check(self, samples: Sequence[int], answers: Any) -> Timings | None:
        """Compare what ``answer`` returned with what is right; not timed.

        Returns:
            What the stages of the call took, where the system tells.

        Raises:
            EngineError: an answer is wrong or an error.
        """


class Turns:
    """A query of ``samples`` crops, the next ones at every call.

    Args:
        system: What answers.
        samples: Crops per query, at least 1.
    """

    def __init__(self, system: System, samples: int = 1) -> None:
        self.timings: list[Timings] = []
        """Stages of the queries that were checked."""
        self._system = system
        rounds = system.crops // gcd(system.crops, samples)
        self._order = cycle(
            [
                [(turn * samples + place) % system.crops for place in range(samples)]
                for turn in range(rounds)
            ]
        )
        self._asked: Sequence[int] = ()

    def __call__(self) -> Any:
        """Ask the next crops."""
        self._asked = next(self._order)
        return self._system.answer(self._asked)

    def check(self, answers: Any) -> None:
        """Check what the last call returned.

        Raises:
            EngineError: it is wrong.
        """
        timings = self._system.check(self._asked, answers)
        if timings is not None:
            self.timings.append(timings)


def check_answer(query: Query, answer: object) -> None:
    """Check what ``query`` returned, if it is one that knows what is right."""
    if isinstance(query, Turns):
        query.check(answer)
