"""Limits and verdicts in words that somebody understands who has never seen a budget."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.budget import Outcome
from benchmarks.metric_kinds import PLAIN, SHARE, TIMES, kind_of

from .facts import disturbances
from .joining import Joined
from .reading import Result
from .writing import Rows

__all__ = [
    "NOT_JUDGED",
    "Judged",
    "Summary",
    "all_judged",
    "by_model",
    "limit_words",
    "quantity",
    "summarise",
]

NOT_JUDGED: Final = "not judged"
_REFERENCE: Final = "the reference"
_LINES: Final = 6
"""Broken limits that a summary names."""
_LIMIT: Final = re.compile(
    r"(?P<metric>\S+)(?P<rest>(?: [^<>=]+)?)(?: >= (?P<min>\S+))?(?: <= (?P<max>\S+))?"
)


@dataclass(frozen=True, slots=True)
class Judged:
    """A limit and what came of it."""

    model: str
    result: Result
    verdict: Mapping[str, Any]
    """As ``Verdict.to_object`` wrote it."""

    @property
    def outcome(self) -> str:
        """``pass``, ``fail`` or ``inconclusive``."""
        return str(self.verdict["outcome"])

    @property
    def sentence(self) -> str:
        """The limit, what was measured and why that is the verdict."""
        value = self.verdict.get("value")
        what, unit, allowed = self.words
        measured = "not measured" if value is None else quantity(value, unit)
        bounds = self.verdict.get("bounds")
        if value is not None and bounds and None not in bounds:
            low, high = (quantity(each, unit) for each in bounds)
            sure = float(self.verdict.get("confidence") or 0.95)
            measured += f" (between {low} and {high} with {sure:.0%} confidence)"
        told = f". {self.remark}" if self.remark else ""
        return f"{self.model}: {what}: {measured}; {allowed}{told}"

    @property
    def words(self) -> tuple[str, str, str]:
        """What ``limit_words`` returns, with the reference by its name."""
        what, unit, allowed = limit_words(str(self.verdict["limit"]))
        return what.replace(_REFERENCE, self.result.reference or _REFERENCE), unit, allowed

    @property
    def remark(self) -> str:
        """What the verdict adds to the numbers."""
        reason = str(self.verdict.get("reason", ""))
        if reason.startswith("between "):  # the bounds, which are shown with their unit
            reason = reason.partition(" confidence")[2].lstrip(";, ")
        return reason


@dataclass(frozen=True, slots=True)
class Summary:
    """What all limits together say."""

    outcome: str
    """``pass``, ``fail``, ``inconclusive`` or ``not judged``."""
    title: str
    lines: Sequence[str]


def limit_words(limit: str) -> tuple[str, str, str]:
    """Return what a limit is on, its unit, and what it allows, in words.

    Args:
        limit: As ``str(Limit)`` gives it: ``latency.engine_ms p99 single-stream <= 2``.
    """
    found = _LIMIT.fullmatch(limit)
    if found is None:
        return limit, PLAIN, "see the limit"
    kind = kind_of(found["metric"])  # None: a later version's result
    what, unit = (kind.words, kind.unit) if kind else (found["metric"], PLAIN)
    rest = found["rest"].strip()
    if rest and rest not in ("mean", "value"):
        what += f" ({rest.replace('p50', 'median').removeprefix('mean ')})"
    bounds = {"at least": found["min"], "at most": found["max"]}
    allowed = [f"{word} {quantity(float(b), unit)}" for word, b in bounds.items() if b]
    return what, unit, f"asked for: {' and '.join(allowed)}"


def quantity(value: float | None, unit: str) -> str:
    """Return a number with its unit; shares as percentages. None is what JSON has no number for."""
    if value is None:
        return "unknown"
    if unit == SHARE:
        return f"{100 * value:.4g}%"
    return f"{value:.4g}{'' if unit == TIMES else ' '}{unit}".strip()


def all_judged(joined: Joined) -> Sequence[Judged]:
    """Return every limit of every result, the broken ones first, then the open ones."""
    names = {name: model.name for model in joined.models for name in model.names}
    found = [
        Judged(names.get(name, name), result, verdict)
        for result in joined.results
        for name, verdicts in result.verdicts.items()
        for verdict in verdicts
    ]
    order = [str(Outcome.FAIL), str(Outcome.INCONCLUSIVE), str(Outcome.PASS)]
    return sorted(found, key=lambda each: order.index(each.outcome))


def by_model(joined: Joined) -> Rows:
    """Return a row per model: its verdict, and how many of its limits were kept."""
    rows = []
    judged = all_judged(joined)
    for model in dict.fromkeys(each.model for each in judged):
        outcomes = [each.outcome for each in judged if each.model == model]
        worst = outcomes[0]  # they are ordered
        counts = {str(o): outcomes.count(str(o)) for o in Outcome}
        rows.append(
            {"model": model, "verdict": worst.upper(), **{k: str(n) for k, n in counts.items()}}
        )
    return rows


def summarise(joined: Joined) -> Summary:
    """Return the verdict over all results."""
    judged = all_judged(joined)
    counts = {str(outcome): 0 for outcome in Outcome}
    for each in judged:
        counts[each.outcome] += 1
    total = f"{len(judged)} limit{'s' if len(judged) != 1 else ''}"
    failed, open_ = counts[str(Outcome.FAIL)], counts[str(Outcome.INCONCLUSIVE)]
    missed = [each.sentence for each in judged if each.outcome != str(Outcome.PASS)]
    lines = missed[:_LINES]
    if missed[_LINES:]:
        lines.append(f"and {len(missed) - _LINES} more, see Limits")
    lines += _doubts(joined)
    if not judged:
        title = "Not judged: these are measurements without limits (no --budget was given)"
        return Summary(NOT_JUDGED, title, lines)
    if failed:
        return Summary(str(Outcome.FAIL), f"Fail: {failed} of {total} broken", lines)
    if open_:
        title = f"Inconclusive: none of {total} is broken, but the data cannot prove {open_}"
        return Summary(str(Outcome.INCONCLUSIVE), title, lines)
    return Summary(str(Outcome.PASS), f"Pass: {len(judged)} of {total} kept", lines)


def _doubts(joined: Joined) -> Iterator[str]:
    """Yield what a reader must know before believing the rest."""
    disturbed = [
        model.name for model in joined.models if any(map(disturbances, model.latency.values()))
    ]
    if disturbed:
        yield f"Timings were disturbed, see Devices: {', '.join(disturbed)}"
    for result in joined.results:
        planted = result.value.get("planted")
        if isinstance(planted, list) and any(row.get("as it must be") == "NO" for row in planted):
            device = joined.device_of(result)
            where = f" of {device.name}" if device else ""
            yield f"The self-check{where} shows that its verdicts on slowdowns cannot be trusted"
