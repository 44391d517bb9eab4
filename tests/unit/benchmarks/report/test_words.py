"""Limits in words, and the verdict over all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.budget import Limit, Measurement, judge
from benchmarks.report.joining import join
from benchmarks.report.reading import Result
from benchmarks.report.words import NOT_JUDGED, all_judged, by_model, limit_words, summarise


def latency(verdicts: dict[str, list[Any]], **changes: Any) -> Result:
    entries = {name: {"id": f"id-{name}"} for name in verdicts}
    value = {
        "command": "benchmarks.latency",
        "environment": {"device": {"cpu": "c", "cores": 1, "arch": "a"}},
        "artifacts": entries,
        "verdicts": verdicts,
        **changes,
    }
    return Result(Path("result.json"), value)


def verdict(value: float | None, low: float, high: float, limit: Limit) -> Any:
    found = Measurement(
        metric=limit.metric, value=value, samples=9, bounds=lambda _: (low, high), stat="p99"
    )
    return judge([found], [limit])[0].to_object()


ENGINE = Limit(metric="latency.engine_ms", stat="p99", max=2.0)


@pytest.mark.parametrize(
    ("limit", "what", "unit", "allowed"),
    [
        (ENGINE, "time of the engine call (p99)", "ms", "at most 2 ms"),
        (
            Limit(metric="latency.read_ms", stat="p50", scenario="camera", max=25),
            "time to read a crop (median camera)",
            "ms",
            "at most 25 ms",
        ),
        (
            Limit(metric="accuracy.head.colour.macro_f1", stat="mean", min=0.9, max=1),
            "macro F1 of head colour",
            "",
            "at least 0.9 and at most 1",
        ),
        (
            Limit(metric="accuracy.head.colour", min=0.98),
            "right answers of head colour",
            "share",
            "at least 98%",
        ),
        (
            Limit(metric="speedup.engine", min=30),
            "speed against the reference (engine)",
            "x",
            "at least 30x",
        ),
        ("size.new_one <= 1e-07", "size.new_one", "", "at most 1e-07"),  # of a later version
    ],
)
def test_limits_are_told_with_unit_and_bound(
    limit: Limit | str, what: str, unit: str, allowed: str
) -> None:
    assert limit_words(str(limit)) == (what, unit, f"asked for: {allowed}")


def test_the_worst_verdict_is_the_reports_and_stands_first() -> None:
    good, bad = verdict(1.0, 0.9, 1.1, ENGINE), verdict(3.0, 2.9, 3.1, ENGINE)
    open_ = verdict(2.0, 1.9, 2.1, ENGINE)
    cases = {
        "fail": ([good, open_, bad], "Fail: 1 of 3 limits broken"),
        "inconclusive": ([good, open_], "Inconclusive: none of 2 limits is broken, but"),
        "pass": ([good], "Pass: 1 of 1 limit kept"),
        NOT_JUDGED: ([], "Not judged: these are measurements without limits"),
    }
    for outcome, (verdicts, title) in cases.items():
        summary = summarise(join([latency({"m": verdicts})], {}))
        assert summary.outcome == outcome
        assert summary.title.startswith(title)
        assert len(summary.lines) == sum(each is not good for each in verdicts)
    joined = join([latency({"m": [good, open_, bad], "n": [good]})], {})
    assert [each.outcome for each in all_judged(joined)] == ["fail", "inconclusive", "pass", "pass"]
    assert by_model(joined) == [
        {"model": "m", "verdict": "FAIL", "pass": "1", "fail": "1", "inconclusive": "1"},
        {"model": "n", "verdict": "PASS", "pass": "1", "fail": "0", "inconclusive": "0"},
    ]


def test_a_sentence_tells_value_bounds_limit_and_what_to_do() -> None:
    joined = join([latency({"m": [verdict(2.0, 1.9, 2.1, ENGINE)]})], {})
    (line,) = summarise(joined).lines
    assert line == (
        "m: time of the engine call (p99): 2 ms (between 1.9 ms and 2.1 ms with 95% confidence); "
        "asked for: at most 2 ms. measure longer or on more data"
    )
    flips = Limit(metric="versus.flips", max=0.1)
    unknown = judge([], [flips])[0].to_object()
    joined = join([latency({"first": [], "m": [unknown]})], {})
    (line,) = summarise(joined).lines
    assert line.startswith(
        "m: answers that differ from those of first: not measured; asked for: at most 10%. not mea"
    )


def test_many_broken_limits_are_counted_not_listed() -> None:
    bad = verdict(3.0, 2.9, 3.1, ENGINE)
    lines = summarise(join([latency({"m": [bad] * 9})], {})).lines
    assert len(lines) == 7
    assert lines[-1] == "and 3 more, see Limits"


def test_doubts_stand_beside_the_verdict() -> None:
    result = latency({"m": []})
    result.artifacts["m"]["disturbed"] = ["it was hot"]  # type: ignore[index]
    check = latency({}, command="benchmarks.self_check", planted=[{"as it must be": "NO"}])
    lines = summarise(join([result, check], {})).lines
    assert lines[0] == "Timings were disturbed, see Devices: m"
    assert "self-check of c, 1 core, a shows that its verdicts" in lines[1]
