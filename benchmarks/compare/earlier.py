"""Two results of earlier runs: what can be compared of them, and with how much doubt.

Timings of separate runs were never side by side. Only medians of single-stream are compared, on
the same device with the same options and crops, by the bounds of both; and as a process's luck with
memory and clocks moves a median by more than these bounds know, the interval is widened by
``DRIFT``.
Answers are compared sample by sample where both runs judged the same crops.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks.assessment import drop_measurement
from benchmarks.budget import Limit, Measurement, Outcome, Verdict, judge
from benchmarks.report.reading import ACCURACY, LATENCY, Result, read_result
from benchmarks.scenarios.latencies import TOLD_CONFIDENCE
from runtime.errors import ConfigError, DataError

from .pairing import Paired

__all__ = ["DRIFT", "compare_earlier", "read_earlier"]

DRIFT: Final = 0.03
"""Share by which medians of separate processes with the same engine may differ on a quiet host."""
_OPTIONS: Final = ("threads", "batch", "streams")
"""Without which two timings are not of the same thing; the last two size the reader's buffers."""


def read_earlier(path: Path) -> Result:
    """Read what ``benchmarks.accuracy`` or ``benchmarks.latency`` wrote.

    Args:
        path: ``result.json`` or the folder that holds it.

    Raises:
        DataError: it cannot be read or is no such result.
    """
    found = read_result(path)
    commands = (ACCURACY, LATENCY)
    if found.command not in commands or not found.artifacts:
        raise DataError(f"{found.path}: expected the result of {' or '.join(commands)}")
    return found


def compare_earlier(
    old: Result, new: Result, *, speed: Mapping[str, Limit], drop: Limit | None
) -> Mapping[str, Sequence[Verdict]]:
    """Judge what two earlier results can show.

    Args:
        old: Before.
        new: After, by the same command.
        speed: ``engine`` and ``read``, some of them, to the limit of their speedup.
        drop: Limit of ``versus.exact_drop``.

    Returns:
        Artifact to verdicts; none where the command measured nothing that is asked for.

    Raises:
        ConfigError: the results are of different commands or of artifacts that do not match, or a
            limit asks for more confidence than the bounds of timings have.
    """
    if old.command != new.command:
        raise ConfigError(
            f"{old.path} is of {old.command}, {new.path} of {new.command}; compare like with like"
        )
    verdicts: dict[str, list[Verdict]] = {}
    for name, before, after in _pairs(old, new):
        if old.command == ACCURACY:
            found = [] if drop is None else [_answers(old, new, before, after, drop)]
        else:
            doubt = _different(old, new) or _other_crops(before, after)
            found = [
                _timing(before, after, of, _as_sure(limit), doubt) for of, limit in speed.items()
            ]
        verdicts[name] = found
    return verdicts


def _pairs(old: Result, new: Result) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    if len(old.artifacts) == len(new.artifacts) == 1:
        ((name, after),) = new.artifacts.items()
        yield name, next(iter(old.artifacts.values())), after
        return
    missing = sorted(set(old.artifacts) ^ set(new.artifacts))
    if missing:
        raise ConfigError(f"artifacts that only one of the results has: {missing}")
    for name, before in old.artifacts.items():
        yield name, before, new.artifacts[name]


def _different(old: Result, new: Result) -> str:
    """Return why timings of the two are not comparable; nothing where they are."""
    if old.device != new.device:
        return f"measured on different devices: {old.device} and {new.device}"
    options = [{name: each.options.get(name) for name in _OPTIONS} for each in (old, new)]
    if options[0] != options[1]:
        return f"measured with different options: {options[0]} and {options[1]}"
    return ""


def _other_crops(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return why two artifacts were not timed with the same crops; nothing where they were."""
    crops: list[Mapping[str, str]] = [each.get("timed_crops") or {} for each in (before, after)]
    if not all(crops):
        return "a result does not say which crops were timed; measure it again"
    if crops[0] != crops[1]:
        told = " and ".join(f"{each['from']} (sha256 {each['sha256'][:12]})" for each in crops)
        return f"timed with different crops, from {told}; time both with the same --data"
    return ""


def _as_sure(limit: Limit) -> Limit:
    """Return the limit with the confidence of the bounds that results hold."""
    # Written as "not within" so that a NaN, which compares false, also fails.
    if not limit.confidence <= TOLD_CONFIDENCE:
        raise ConfigError(
            f"results of earlier runs hold bounds of {TOLD_CONFIDENCE:g} confidence, not of "
            f"{limit.confidence:g}; ask for less, or compare the artifacts themselves"
        )
    return replace(limit, confidence=TOLD_CONFIDENCE)


def _timing(
    before: Mapping[str, Any], after: Mapping[str, Any], of: str, limit: Limit, doubt: str
) -> Verdict:
    timed = [each[of] for each in (before, after) if each.get(of)]
    if doubt or len(timed) < 2:
        return Verdict(limit, Outcome.INCONCLUSIVE, doubt or "not measured in both runs")
    first, second = ((each["percentiles_ms"]["p50"], each["bounds_ms"]["p50"]) for each in timed)
    if None in (first[0], second[0], *first[1], *second[1]):
        return Verdict(limit, Outcome.INCONCLUSIVE, "too few queries; measure longer")
    low = first[1][0] / second[1][1] / (1 + DRIFT)
    high = first[1][1] / max(second[1][0], 1e-9) * (1 + DRIFT)
    found = Measurement(
        metric=limit.metric,
        value=first[0] / second[0],
        samples=min(each["queries"] for each in timed),
        bounds=lambda _confidence: (low, high),
        stat="p50",
        scenario="single-stream",
    )
    (verdict,) = judge([found], [limit])
    # Not even a pass stands: noise in the run of OLD makes NEW look fast.
    if any(each["noisy"] for each in timed):
        reason = f"{verdict.reason}, but other processes disturbed a run"
        return Verdict(limit, Outcome.INCONCLUSIVE, reason, found)
    return verdict


def _answers(
    old: Result, new: Result, before: Mapping[str, Any], after: Mapping[str, Any], limit: Limit
) -> Verdict:
    origins = [str(each.value["data"]["origin"]).rpartition("sha256 ")[2] for each in (old, new)]
    wrong = [each.get("exact_wrong") for each in (before, after)]
    totals = [each["metrics"]["exact"]["total"] for each in (before, after)]
    if origins[0] != origins[1] or totals[0] != totals[1]:
        return Verdict(limit, Outcome.INCONCLUSIVE, "judged on different crops")
    if wrong[0] is None or wrong[1] is None:
        return Verdict(limit, Outcome.INCONCLUSIVE, "a result does not say which crops were wrong")
    lost, gained = set(wrong[1]) - set(wrong[0]), set(wrong[0]) - set(wrong[1])
    (verdict,) = judge([drop_measurement(Paired(len(lost), len(gained), totals[0]))], [limit])
    return verdict
