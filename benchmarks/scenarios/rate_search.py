"""The highest rate that holds: what MLPerf calls the result of the Server scenario."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.budget import Outcome
from benchmarks.noise import Noise

from .server import ServerRun

__all__ = ["RateSearch", "highest_rate"]

PRECISION: Final = 0.05
"""The search ends once rates that hold and do not lie this close together."""
_LOWEST: Final = 1 / 16
"""Of the start: where queries hardly meet and are still too late, no rate will hold."""
_MOST: Final = 40
"""Trials before confirming."""
_CONFIRMATIONS: Final = 6


@dataclass(frozen=True, slots=True)
class RateSearch:
    """The trials of a search."""

    trials: Sequence[ServerRun]
    best: ServerRun | None
    """A run of full length at the highest rate that held; None: no rate did."""

    @property
    def told(self) -> ServerRun:
        """The run whose latencies are worth telling: the best, or the last that did not hold."""
        return self.best or self.trials[-1]

    @property
    def held(self) -> float:
        """Highest rate that was proven to hold; 0 where none was."""
        return self.best.rate if self.best else 0.0

    @property
    def failed(self) -> float:
        """Lowest rate above ``held`` that was proven not to hold; infinity where none was."""
        rates = [run.rate for run in self.trials if run.outcome is Outcome.FAIL]
        return min((rate for rate in rates if rate > self.held), default=float("inf"))

    @property
    def noise(self) -> Noise:
        """That of the noisiest trial: one that fails by others' doing ends the search too low."""
        found = [run.noise.other_cores for run in self.trials]
        known = [cores for cores in found if cores is not None]
        return Noise(max(known) if len(known) == len(found) and found else None)

    def to_object(self) -> Mapping[str, Any]:
        """Return the rates and the best run for a report."""
        return {
            "held_queries_per_s": self.held,
            "failed_queries_per_s": self.failed,
            "trials": [
                {
                    "queries_per_s": run.rate,
                    "queries": run.latency.count,
                    "over_bound": run.over,
                    "holds": str(run.outcome),
                    **run.noise.to_object(),
                }
                for run in self.trials
            ],
            **self.noise.to_object(),
        }


def highest_rate(
    trial: Callable[[float], ServerRun], confirm: Callable[[float], ServerRun], *, start: float
) -> RateSearch:
    """Search the highest rate that holds, within 5 %.

    Doubles from ``start`` while rates hold, or halves until one does, then bisects. The rate that
    is found is confirmed by a run of full length, at a lower rate if need be: of many trials near
    the edge, the best one is partly luck.

    Args:
        trial: Runs one rate, briefly.
        confirm: Runs one rate at full length.
        start: Where to begin, queries per second; best below what the system can serve.
    """
    trials: list[ServerRun] = []

    def holds(rate: float, run: Callable[[float], ServerRun] = trial) -> bool:
        trials.append(run(rate))
        return trials[-1].outcome is Outcome.PASS

    rate, held, broken = start, 0.0, float("inf")
    while broken > held * (1 + PRECISION) and rate >= _LOWEST * start and len(trials) < _MOST:
        if holds(rate):
            held = rate
        else:
            broken = rate
        rate = 2 * held if broken == float("inf") else (held * broken) ** 0.5 if held else rate / 2
    for _ in range(_CONFIRMATIONS if held else 0):
        if holds(held, confirm):
            return RateSearch(trials, trials[-1])
        held /= 1 + PRECISION
    return RateSearch(trials, None)
