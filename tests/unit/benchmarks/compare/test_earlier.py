from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from benchmarks.budget import Limit, Outcome
from benchmarks.compare.earlier import compare_earlier, read_earlier
from benchmarks.compare.racing import slowdown_limit
from benchmarks.report.reading import Result
from runtime.errors import ConfigError, DataError

SPEED = {"engine": slowdown_limit("engine", 0.05, 0.95)}
CROPS = {"from": "the artifact", "sha256": "a" * 64}
DROP = Limit(metric="versus.exact_drop", max=0.005)


def timing(p50: float, low: float, high: float, *, noisy: bool = False) -> Mapping[str, Any]:
    return {
        "queries": 1000,
        "percentiles_ms": {"p50": p50},
        "bounds_ms": {"p50": [low, high]},
        "noisy": noisy,
    }


def latency(engine: object, **changes: Any) -> dict[str, Any]:
    return {
        "command": "benchmarks.latency",
        "environment": {"device": {"cpu": "A", "cores": 2}},
        "config": {"threads": 1, "batch": 1, "duration": 5.0},
        "artifacts": {"plates": {"engine": engine, "timed_crops": CROPS}},
        **changes,
    }


def accuracy(wrong: list[int] | None, *, digest: str = "d", total: int = 2000) -> dict[str, Any]:
    entry = {"exact_wrong": wrong, "metrics": {"exact": {"total": total}}}
    return {
        "command": "benchmarks.accuracy",
        "environment": {"device": {}},
        "config": {},
        "data": {"origin": f"test.tsv, {total} samples, sha256 {digest}"},
        "artifacts": {"plates": entry},
    }


def judged(old: dict[str, Any], new: dict[str, Any]) -> tuple[Outcome, str]:
    results = [Result(Path(name), deepcopy(value)) for name, value in (("o", old), ("n", new))]
    ((verdict,),) = compare_earlier(*results, speed=SPEED, drop=DROP).values()
    return verdict.outcome, verdict.reason


@pytest.mark.parametrize(
    ("p50", "expected"),
    [
        (1.00, Outcome.PASS),
        (0.50, Outcome.PASS),
        (1.04, Outcome.INCONCLUSIVE),
        (1.07, Outcome.INCONCLUSIVE),  # 3 % may be the luck of a process
        (1.20, Outcome.FAIL),
    ],
)
def test_medians_are_compared_with_doubt(p50: float, expected: Outcome) -> None:
    old = latency(timing(1.0, 0.998, 1.002))
    assert judged(old, latency(timing(p50, 0.998 * p50, 1.002 * p50)))[0] is expected


def test_what_is_not_comparable_is_inconclusive() -> None:
    same = timing(1.0, 0.999, 1.001)
    old = latency(same)
    other = latency(same, environment={"device": {"cpu": "B", "cores": 2}})
    cases = {
        "different devices": other,
        "different options": latency(same, config={"threads": 2, "batch": 1}),
        "'batch': 8": latency(same, config={"threads": 1, "batch": 8}),
        "not measured": latency(None),
        "too few queries": latency(timing(1.0, 0.999, None)),  # type: ignore[arg-type]
        "disturbed": latency(timing(1.0, 0.999, 1.001, noisy=True)),
    }
    for reason, new in cases.items():
        outcome, told = judged(old, new)
        assert outcome is Outcome.INCONCLUSIVE
        assert reason in told
    assert judged(old, old)[0] is Outcome.PASS


def test_timings_of_other_crops_are_not_compared() -> None:
    old = latency(timing(1.0, 0.999, 1.001))
    entry = old["artifacts"]["plates"]
    given = {"from": "--data", "sha256": "b" * 64}
    for crops, reason in [
        (given, f"the artifact (sha256 {'a' * 12}) and --data (sha256 {'b' * 12})"),
        (None, "does not say which crops were timed"),
    ]:
        new = latency(None, artifacts={"plates": {**entry, "timed_crops": crops}})
        outcome, told = judged(old, new)
        assert outcome is Outcome.INCONCLUSIVE
        assert reason in told


def test_how_long_was_measured_may_differ() -> None:
    same = timing(1.0, 0.999, 1.001)
    longer = latency(same, config={"threads": 1, "batch": 1, "duration": 60.0})
    assert judged(latency(same), longer)[0] is Outcome.PASS


def test_bounds_are_called_as_sure_as_they_are() -> None:
    result = Result(Path("o"), latency(timing(1.0, 0.999, 1.001)))
    ((verdict,),) = compare_earlier(result, result, speed=SPEED, drop=None).values()
    assert "at 0.99 confidence" in verdict.reason
    assert verdict.to_object()["confidence"] == 0.99
    surer = {"engine": slowdown_limit("engine", 0.05, 0.999)}
    with pytest.raises(ConfigError, match=r"bounds of 0\.99 confidence, not of 0\.999"):
        compare_earlier(result, result, speed=surer, drop=None)


def test_a_noisy_old_run_makes_no_new_one_look_fast() -> None:
    noisy = latency(timing(2.0, 1.9, 2.1, noisy=True))
    assert judged(noisy, latency(timing(1.5, 1.49, 1.51)))[0] is Outcome.INCONCLUSIVE


def test_answers_are_paired_crop_by_crop() -> None:
    wrong = [*range(100)]
    assert judged(accuracy(wrong), accuracy(wrong))[0] is Outcome.PASS
    # A point is lost: 20 of 2,000. Found, or where others were gained, in doubt; never passed.
    assert judged(accuracy(wrong), accuracy([*range(120)]))[0] is Outcome.FAIL
    churned = accuracy([*range(60, 180)])
    assert judged(accuracy(wrong), churned)[0] is Outcome.INCONCLUSIVE


def test_answers_to_other_crops_are_not_compared() -> None:
    assert "different crops" in judged(accuracy([]), accuracy([], digest="e"))[1]
    assert "different crops" in judged(accuracy([]), accuracy([], total=1999))[1]
    outcome, reason = judged(accuracy([1]), accuracy(None))
    assert outcome is Outcome.INCONCLUSIVE
    assert "does not say" in reason


def test_artifacts_are_matched_by_name() -> None:
    two = {
        "a": {"engine": timing(1, 0.999, 1.001), "timed_crops": CROPS},
        "b": {"engine": timing(2, 1.999, 2.001), "timed_crops": CROPS},
    }
    old = Result(Path("o"), latency(None, artifacts=two))
    found = compare_earlier(old, old, speed=SPEED, drop=DROP)
    assert {name: each[0].outcome for name, each in found.items()} == dict.fromkeys(
        "ab", Outcome.PASS
    )
    with pytest.raises(ConfigError, match=r"only one of the results has: \['b', 'plates'\]"):
        compare_earlier(
            Result(Path("o"), latency(None, artifacts={"a": {}, "b": {}})),
            Result(Path("n"), latency(None, artifacts={"a": {}, "plates": {}})),
            speed=SPEED,
            drop=DROP,
        )


def test_results_of_different_commands_are_refused() -> None:
    with pytest.raises(ConfigError, match="like with like"):
        judged(latency(None), accuracy([]))


def test_results_are_read_from_a_file_or_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    file.write_text(json.dumps(accuracy([1])), encoding="utf-8")
    assert read_earlier(file).command == "benchmarks.accuracy"
    assert read_earlier(tmp_path).value == read_earlier(file).value


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"command": "train.fit"}', '{"command": "benchmarks.latency"}']
)
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "result.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"result\.json"):
        read_earlier(file)
    with pytest.raises(DataError, match="cannot be read"):
        read_earlier(tmp_path / "gone.json")
