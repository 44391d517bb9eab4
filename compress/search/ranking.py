"""Which candidate is better: how far each is from the budget, and what comes next.

A *shortfall* says by how much a limit is missed, relative to the limit, so that milliseconds and
points can be added up; 0 is kept. Of accuracies the errors are compared: 0.96 where 0.97 is asked
for are a third more errors than allowed, as 0.4 ms where 0.3 are asked for are a third too slow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Final

from benchmarks.budget import Limit, Measurement, Outcome, Verdict, judge

from .measuring import ACCURACY_FAMILIES, LATENCY, Facts, fact
from .space import Candidate, NetworkChoice

__all__ = ["Confirmed", "Record", "best_of", "gaps", "next_network", "shortfall", "shortfalls"]

_LEAST_SCALE: Final = 1e-3
_ORDER: Final = (Outcome.PASS, Outcome.INCONCLUSIVE, Outcome.FAIL)


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What the budget's judge says of a fully trained candidate."""

    measured: Sequence[Measurement]
    verdicts: Sequence[Verdict]
    latency_ms: float
    """Median of the engine call, timed by turns with the others."""

    @property
    def outcome(self) -> Outcome:
        """The worst of all verdicts."""
        outcomes = {verdict.outcome for verdict in self.verdicts}
        return max(outcomes, key=_ORDER.index)


@dataclass(slots=True, kw_only=True)
class Record:
    """All that is known of one candidate so far."""

    candidate: Candidate
    speed: Facts = ()
    """From screening: its fastest queries, and sizes."""
    accuracy: Facts = ()
    """From a short training."""
    failure: str = ""
    """Why it cannot be made, or why it was left out after screening."""
    confirmed: Confirmed | None = None

    def values(self, corrections: Mapping[str, float] | None = None) -> Facts:
        """Return what is known: measured where confirmed, else screened and predicted.

        Args:
            corrections: Metric to what a full training adds to a short one's value.
        """
        if self.confirmed is not None:
            return tuple(self.confirmed.measured)
        add = corrections or {}
        predicted = (
            fact(
                item.metric,
                None if item.value is None else item.value + add.get(item.metric, 0.0),
                stat=item.stat,
                scenario=item.scenario,
            )
            for item in self.accuracy
        )
        return (*self.speed, *predicted)

    @property
    def latency_ms(self) -> float | None:
        """Latency of the engine call: timed by turns once confirmed, else from screening."""
        return self.confirmed.latency_ms if self.confirmed else self.value(LATENCY)

    def value(self, metric: str, corrections: Mapping[str, float] | None = None) -> float | None:
        """Return one number, None where it is not known."""
        return next((i.value for i in self.values(corrections) if i.metric == metric), None)


def shortfall(limit: Limit, value: float | None) -> float:
    """Return how far ``value`` is from keeping ``limit``, relative to it; infinite if not known."""
    if value is None or not isfinite(value):
        return inf
    missing = 0.0
    if limit.max is not None:
        missing = max(missing, (value - limit.max) / max(abs(limit.max), _LEAST_SCALE))
    if limit.min is not None:
        scale = 1 - limit.min if limit.family == "accuracy" else abs(limit.min)
        missing = max(missing, (limit.min - value) / max(scale, _LEAST_SCALE))
    return missing


def shortfalls(limits: Sequence[Limit], facts: Facts) -> dict[Limit, float]:
    """Return the shortfall of every limit on something that was measured.

    Raises:
        ConfigError: a limit fits several measurements.
    """
    return {
        verdict.limit: shortfall(verdict.limit, verdict.measured.value)
        for verdict in judge(facts, limits)
        if verdict.measured is not None
    }


def gaps(records: Iterable[Record]) -> dict[str, float]:
    """Return, by accuracy metric, what full trainings added to short ones on average."""
    found: dict[str, list[float]] = {}
    for record in records:
        if record.confirmed is None or not record.accuracy:
            continue
        for item in record.accuracy:
            then = record.value(item.metric)
            if item.value is not None and then is not None:
                found.setdefault(item.metric, []).append(then - item.value)
    return {metric: sum(values) / len(values) for metric, values in found.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The order of candidates under a budget."""

    limits: Sequence[Limit]
    prefer: str
    """``latency``, ``size`` or ``accuracy``."""
    corrections: Mapping[str, float] = field(default_factory=dict)

    def missing(self, record: Record) -> float:
        """Return the sum of all known shortfalls."""
        return sum(shortfalls(self.limits, record.values(self.corrections)).values())

    def liking(self, record: Record) -> float:
        """Return what to make small among candidates that keep the budget."""
        if self.prefer == "accuracy":
            exact = record.value("accuracy.exact", self.corrections)
            return inf if exact is None else -exact
        if self.prefer == "size":
            return record.value("size.engine_mb") or inf
        return record.latency_ms or inf

    def out_of_reach(self, record: Record) -> bool:
        """Whether speed or size, which no training mends, miss their limits."""
        return any(shortfalls(hardware_limits(self.limits), record.values()).values())

    def key(self, record: Record) -> tuple[float, float]:
        """Return what sorts the better one first."""
        return self.missing(record), self.liking(record)


def next_network(
    records: Sequence[Record], limits: Sequence[Limit], prefer: str
) -> NetworkChoice | None:
    """Return the network to train fully now; None where none promises to be better.

    First comes what is fast and small enough and nearest to the budget after its short training,
    as accuracy is all that a full training adds to. Once a candidate keeps it,
    only those are worth a training that are liked better and are predicted to keep it as well.
    """
    ranking = Ranking(limits=limits, prefer=prefer, corrections=gaps(records))
    waiting = [r for r in records if r.accuracy and r.confirmed is None and not r.failure]
    keeping = [record for record in records if _keeps(record, ranking)]
    if keeping:
        liked = min(map(ranking.liking, keeping))
        waiting = [r for r in waiting if ranking.missing(r) == 0 and ranking.liking(r) < liked]
    if not waiting:
        return None
    first = min(waiting, key=lambda record: (ranking.out_of_reach(record), *ranking.key(record)))
    return first.candidate.network


def _keeps(record: Record, ranking: Ranking) -> bool:
    """Whether nothing speaks against it: too few samples for a proof are no reason to train on."""
    if record.confirmed is None or record.confirmed.outcome is Outcome.FAIL:
        return False
    return record.confirmed.outcome is Outcome.PASS or ranking.missing(record) == 0


def best_of(records: Iterable[Record], limits: Sequence[Limit], prefer: str) -> Record | None:
    """Return the best confirmed candidate: it passes, or is the nearest miss."""
    ranking = Ranking(limits=limits, prefer=prefer)

    def key(record: Record) -> tuple[int, float, float]:
        assert record.confirmed is not None  # only those are compared
        return _ORDER.index(record.confirmed.outcome), *ranking.key(record)

    return min((r for r in records if r.confirmed), key=key, default=None)


def hardware_limits(limits: Sequence[Limit]) -> tuple[Limit, ...]:
    """Return the limits on what does not depend on the weights."""
    return tuple(limit for limit in limits if limit.family not in ACCURACY_FAMILIES)
