"""Limits that a model must keep on a device, and the verdict on each.

The metrics and what a verdict means are specified in docs/budgets.md. A limit passes only when the
*bound* of the measurement keeps it, not the measured value: pass if the bound on the bad side is
within, fail if the bound on the good side is beyond, inconclusive in between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from math import isfinite, isnan
from typing import Any, Final, NoReturn

from runtime.errors import ConfigError

from .metric_kinds import MetricKind, close_to, kind_of

__all__ = [
    "FAMILIES",
    "RELATIVE_FAMILIES",
    "Limit",
    "Measurement",
    "Outcome",
    "Verdict",
    "exit_code",
    "judge",
]

FAMILIES: Final[Mapping[str, str]] = {
    "accuracy": "benchmarks.accuracy",
    "versus": "benchmarks.accuracy",
    "latency": "benchmarks.latency",
    "throughput": "benchmarks.latency",
    "frames": "benchmarks.latency",
    "size": "benchmarks.latency",
    "energy": "benchmarks.latency",
    "speedup": "benchmarks.latency",
}
"""First word of a metric to the command that measures it."""
RELATIVE_FAMILIES: Final = frozenset({"versus", "speedup"})
"""Metrics against the first artifact of the command line, which itself has none."""


class Outcome(str, Enum):
    """What a measurement says about a limit."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"

    __str__ = str.__str__  # as StrEnum of Python 3.11


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One measured number and how sure it is."""

    metric: str
    """Dotted name, for example ``latency.engine_ms``."""
    value: float | None
    """None: too few samples for this statistic. NaN: measured, and broken."""
    samples: int
    bounds: Callable[[float], tuple[float, float]] | None = None
    """From a confidence to a lower and an upper bound, each alone holding with it.

    None: the number is exact, like a size, or has no known error; the value itself is judged.
    """
    stat: str = "value"
    """``p50``, ``p90``, ``p99``, ``mean`` or ``value``."""
    scenario: str | None = None
    noisy: bool = False
    """Whether other processes made the timing worse than it is.

    Not for ratios of interleaved timings: noise hits both sides, and the bounds contain it.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One line of a budget.

    Raises:
        ConfigError: a metric that nothing measures, or not in this form; no finite bound, or one
            that nothing can keep; a confidence outside (0.5, 1).
    """

    metric: str
    stat: str | None = None
    scenario: str | None = None
    min: float | None = None
    max: float | None = None
    confidence: float = 0.95
    min_samples: int = 1

    def __post_init__(self) -> None:
        kind = self.kind
        if self.stat is None and len(kind.stats) > 1:
            self._refuse(f"add stat, one of {', '.join(kind.stats)}")
        if self.stat not in (None, *kind.stats):
            self._refuse(f"is not measured as {self.stat}; stat may be {', '.join(kind.stats)}")
        if self.scenario not in (None, *kind.scenarios):
            known = ", ".join(kind.scenarios)
            self._refuse(
                f"is not measured in the scenario {self.scenario!r}; "
                + (f"scenario may be {known}" if known else "leave scenario out")
            )
        bounds = [bound for bound in (self.min, self.max) if bound is not None]
        if not bounds or not all(isfinite(bound) for bound in bounds):
            self._refuse(f"needs a finite min or max, got {bounds}")
        if not all(kind.low <= bound <= kind.high for bound in bounds) or bounds != sorted(bounds):
            self._refuse(
                f"nothing can keep {self}; expected {kind.low:g} <= min <= max"
                + (f" <= {kind.high:g}" if isfinite(kind.high) else "")
            )
        if not 0.5 < self.confidence < 1 or self.min_samples < 1:
            self._refuse(
                "confidence must be in (0.5, 1) and min_samples >= 1, got "
                f"{self.confidence} and {self.min_samples}"
            )

    def _refuse(self, why: str) -> NoReturn:
        raise ConfigError(f"limit on {self.metric!r}: {why}")

    @property
    def kind(self) -> MetricKind:
        """What its metric is."""
        kind = kind_of(self.metric)
        if kind is None:
            self._refuse(
                f"nothing measures it; did you mean {close_to(self.metric)}? (see docs/budgets.md)"
            )
        return kind

    @property
    def scenarios(self) -> Sequence[str]:
        """In which it may be measured: what it names, else all of its metric; may be none."""
        return (self.scenario,) if self.scenario else self.kind.scenarios

    @property
    def family(self) -> str:
        """First word of the metric."""
        return self.metric.split(".", 1)[0]

    def __str__(self) -> str:
        name = " ".join(part for part in (self.metric, self.stat, self.scenario) if part)
        low = "" if self.min is None else f" >= {self.min:g}"
        high = "" if self.max is None else f" <= {self.max:g}"
        return f"{name}{low}{high}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one limit."""

    limit: Limit
    outcome: Outcome
    reason: str
    measured: Measurement | None = None

    def to_object(self) -> Mapping[str, Any]:
        """Return limit, outcome, value, bounds and reason for a report."""
        measured = self.measured
        bounds = measured.bounds(self.limit.confidence) if measured and measured.bounds else None
        return {
            "limit": str(self.limit),
            "outcome": str(self.outcome),
            "value": measured.value if measured else None,
            "bounds": bounds,
            "confidence": self.limit.confidence,
            "samples": measured.samples if measured else 0,
            "reason": self.reason,
        }


def judge(measurements: Sequence[Measurement], limits: Sequence[Limit]) -> tuple[Verdict, ...]:
    """Return a verdict on every limit, in order.

    A limit on something that was not measured fails.

    Raises:
        ConfigError: a limit fits several measurements because it leaves out stat or scenario.
    """
    return tuple(_judge_one(measurements, limit) for limit in limits)


def _judge_one(measurements: Sequence[Measurement], limit: Limit) -> Verdict:
    found = [
        item
        for item in measurements
        if item.metric == limit.metric
        and limit.stat in (None, item.stat)
        and limit.scenario in (None, item.scenario)
    ]
    if not found:
        return Verdict(limit, Outcome.FAIL, _not_measured(measurements, limit))
    if len(found) > 1:
        kinds = [f"{item.stat} {item.scenario or ''}".strip() for item in found]
        raise ConfigError(f"limit on {limit.metric!r} fits {kinds}; add stat or scenario")
    outcome, reason = _compare(found[0], limit)
    return Verdict(limit, outcome, reason, found[0])


def _not_measured(measurements: Sequence[Measurement], limit: Limit) -> str:
    kinds = [
        f"{m.stat} {m.scenario or ''}".strip() for m in measurements if m.metric == limit.metric
    ]
    if kinds:
        return f"not measured as {limit.stat} {limit.scenario or ''}; there are: {', '.join(kinds)}"
    if limit.family in RELATIVE_FAMILIES:
        return "not measured: it needs the artifact to compare with, named first"
    names = sorted({item.metric for item in measurements})
    return f"not measured; did you mean {close_to(limit.metric, names)}?"


def _compare(measured: Measurement, limit: Limit) -> tuple[Outcome, str]:
    if measured.value is None or measured.samples < limit.min_samples:
        few = f"{measured.samples} samples are too few"
        need = f", the limit wants {limit.min_samples}" if limit.min_samples > 1 else ""
        return Outcome.INCONCLUSIVE, f"{few}{need}; measure longer or on more data"
    if not isfinite(measured.value):
        return Outcome.FAIL, f"the measured value is {measured.value}"
    low = high = measured.value
    if measured.bounds is not None:
        low, high = measured.bounds(limit.confidence)
    if isnan(low) or isnan(high):
        return Outcome.FAIL, f"the bounds are {low} and {high}"
    least = float("-inf") if limit.min is None else limit.min
    most = float("inf") if limit.max is None else limit.max
    span = f"between {low:.6g} and {high:.6g} at {limit.confidence:g} confidence"
    if least <= low and high <= most:
        return Outcome.PASS, span
    if high < least or low > most:
        if measured.noisy:
            return Outcome.INCONCLUSIVE, f"{span}, but other processes slowed the measurement"
        return Outcome.FAIL, span
    return Outcome.INCONCLUSIVE, f"{span}; measure longer or on more data"


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """Return 0 if all limits pass, 1 if one fails, else 3: some are inconclusive."""
    outcomes = {verdict.outcome for verdict in verdicts}
    if Outcome.FAIL in outcomes:
        return 1
    return 3 if Outcome.INCONCLUSIVE in outcomes else 0
