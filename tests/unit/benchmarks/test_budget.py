from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.budget import (
    Limit,
    Measurement,
    Outcome,
    exit_code,
    judge,
)
from benchmarks.budget_file import LOAD_KEYS, limits_for, read_budget, read_load
from benchmarks.intervals import Share
from benchmarks.metric_kinds import METRICS
from benchmarks.speed import Loads
from runtime.errors import ConfigError

DEVICE = {
    "arch": "aarch64",
    "cpu": "Cortex-A78AE",
    "cores": 6,
    "flags": ["i8mm"],
    "soc": "tegra234",
}


def measured(value: float | None, low: float, high: float, **more: object) -> Measurement:
    return Measurement(
        metric="latency.engine_ms",
        value=value,
        samples=1000,
        stat="p99",
        scenario="single-stream",
        bounds=lambda _confidence: (low, high),
        **more,  # type: ignore[arg-type]
    )


def outcome(measurement: Measurement, **limit: object) -> Outcome:
    (verdict,) = judge([measurement], [Limit(metric="latency.engine_ms", stat="p99", **limit)])  # type: ignore[arg-type]
    return verdict.outcome


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.0, 5.0, Outcome.PASS),
        (4.0, 6.0, Outcome.INCONCLUSIVE),
        (5.1, 6.0, Outcome.FAIL),
        (0.0, float("inf"), Outcome.INCONCLUSIVE),
    ],
)
def test_a_largest_value_is_judged_by_its_bounds(
    low: float, high: float, expected: Outcome
) -> None:
    assert outcome(measured(5.0, low, high), max=5.0) is expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (5.0, 9.0, Outcome.PASS),
        (4.0, 6.0, Outcome.INCONCLUSIVE),
        (3.0, 4.9, Outcome.FAIL),
    ],
)
def test_a_least_value_is_judged_by_its_bounds(low: float, high: float, expected: Outcome) -> None:
    assert outcome(measured(5.0, low, high), min=5.0) is expected


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_planted_nan_fails(value: float) -> None:
    assert outcome(measured(value, 0, 1), max=5.0) is Outcome.FAIL
    exact = Measurement(metric="latency.engine_ms", value=value, samples=1, stat="p99")
    assert outcome(exact, max=5.0) is Outcome.FAIL
    assert outcome(exact, min=0.0) is Outcome.FAIL


def test_nan_bounds_fail() -> None:
    assert outcome(measured(1.0, float("nan"), 2.0), max=5.0) is Outcome.FAIL
    assert outcome(measured(1.0, 0.0, float("nan")), max=5.0) is Outcome.FAIL


def test_share_without_samples_fails() -> None:
    empty = Share(0, 0)
    measurement = Measurement(
        metric="accuracy.exact", value=empty.value, samples=0, bounds=empty.bounds
    )
    (verdict,) = judge([measurement], [Limit(metric="accuracy.exact", min=0.5)])
    assert verdict.outcome is not Outcome.PASS


def test_too_few_samples_are_inconclusive() -> None:
    assert outcome(measured(None, 0, 1), max=5.0) is Outcome.INCONCLUSIVE
    assert outcome(measured(1.0, 0, 1), max=5.0, min_samples=1001) is Outcome.INCONCLUSIVE


def test_noise_excuses_a_miss_but_does_not_taint_a_pass() -> None:
    assert outcome(measured(9.0, 8, 10, noisy=True), max=5.0) is Outcome.INCONCLUSIVE
    assert outcome(measured(1.0, 0, 2, noisy=True), max=5.0) is Outcome.PASS


def test_exact_numbers_need_no_bounds() -> None:
    size = Measurement(metric="size.engine_mb", value=1.2, samples=1)
    assert judge([size], [Limit(metric="size.engine_mb", max=1.2)])[0].outcome is Outcome.PASS
    assert judge([size], [Limit(metric="size.engine_mb", max=1.19)])[0].outcome is Outcome.FAIL


def test_what_was_not_measured_fails_and_the_reason_helps() -> None:
    found = [Measurement(metric="accuracy.head.colour", value=0.9, samples=10)]
    typo, kind, relative = judge(
        [*found, measured(1.0, 0, 2)],
        [
            Limit(metric="accuracy.head.color", min=0.5),
            Limit(metric="latency.engine_ms", stat="p90", max=5),
            Limit(metric="versus.flips", max=0.01),
        ],
    )
    assert {typo.outcome, kind.outcome, relative.outcome} == {Outcome.FAIL}
    assert "accuracy.head.colour" in typo.reason
    assert "p99 single-stream" in kind.reason
    assert "named first" in relative.reason
    assert judge([], [Limit(metric="size.engine_mb", max=1)])[0].outcome is Outcome.FAIL


def test_ambiguous_limit_is_an_error() -> None:
    several = [measured(1.0, 0, 2), measured(1.0, 0, 2)]
    with pytest.raises(ConfigError, match="add stat or scenario"):
        judge(several, [Limit(metric="latency.engine_ms", stat="p99", max=5)])


def test_confidence_reaches_the_bounds() -> None:
    share = Share(990, 1000)
    found = Measurement(metric="accuracy.exact", value=0.99, samples=1000, bounds=share.bounds)
    outcomes = [
        judge([found], [Limit(metric="accuracy.exact", min=0.984, confidence=c)])[0].outcome
        for c in (0.9, 0.999)
    ]
    assert outcomes == [Outcome.PASS, Outcome.INCONCLUSIVE]


@given(st.floats(0, 10), st.floats(0, 5), st.floats(0, 5), st.floats(0, 10), st.booleans())
def test_verdicts_never_contradict_the_value(
    value: float, below: float, above: float, bound: float, largest: bool
) -> None:
    limit = {"max": bound} if largest else {"min": bound}
    found = outcome(measured(value, value - below, value + above), **limit)
    kept = value <= bound if largest else value >= bound
    assert found is not (Outcome.FAIL if kept else Outcome.PASS)


def test_exit_codes() -> None:
    limit = Limit(metric="size.engine_mb", max=1.0)
    good = judge([Measurement(metric="size.engine_mb", value=0.5, samples=1)], [limit])
    bad = judge([], [limit])
    open_ = judge([Measurement(metric="size.engine_mb", value=None, samples=1)], [limit])
    assert exit_code([]) == 0
    assert exit_code(good) == 0
    assert exit_code([*good, *open_]) == 3
    assert exit_code([*good, *open_, *bad]) == 1


@pytest.mark.parametrize(
    ("limit", "named"),
    [
        ({"metric": "accuracy.exakt", "min": 0.5}, r"did you mean accuracy\.exact"),
        ({"metric": "accuracy.heads.x", "min": 0.5}, r"did you mean accuracy\.head\.NAME"),
        ({"metric": "comfort", "min": 0.5}, r"'comfort': nothing measures it"),
        ({"metric": "accuracy.exact", "min": 0.9, "max": 0.5}, "0 <= min <= max <= 1"),
        ({"metric": "accuracy.exact", "min": 1.5}, r"nothing can keep accuracy\.exact >= 1\.5"),
        ({"metric": "accuracy.exact", "max": float("nan")}, "finite"),
        ({"metric": "versus.exact_drop", "max": -1.5}, "-1 <= min"),
        ({"metric": "latency.engine_ms", "stat": "p99", "max": -1}, "expected 0 <= min <= max$"),
        ({"metric": "latency.engine_ms", "stat": "p95", "max": 2}, "stat may be p50, p90, p99"),
        ({"metric": "latency.engine_ms", "max": 2}, "add stat, one of p50, p90, p99"),
        ({"metric": "size.engine_mb", "stat": "mean", "max": 2}, "stat may be value"),
        ({"metric": "frames.late", "scenario": "offline", "max": 0.1}, "scenario may be camera"),
        ({"metric": "accuracy.exact", "scenario": "offline", "max": 1}, "leave scenario out"),
    ],
)
def test_a_limit_that_nothing_could_keep_is_refused_when_it_is_made(
    limit: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        Limit(**limit)


def test_bounds_at_the_ends_of_what_a_metric_can_be_are_allowed() -> None:
    for metric, kind in METRICS.items():
        stat, most = kind.stats[0], min(kind.high, 1e9)
        Limit(metric=metric.replace("*", "x"), stat=stat, min=kind.low, max=most)
        Limit(metric=metric.replace("*", "x"), stat=stat, min=most, max=most)


def write(folder: Path, text: str) -> Path:
    path = folder / "budget.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_budget_for_a_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(
        tmp_path,
        """
        schema = 1
        limits = [{ metric = "accuracy.exact", min = 0.9 }]
        [device.orin]
        match = { arch = "aarch64", soc = "TEGRA234", flags = ["i8mm"], cores = 6 }
        limits = [{ metric = "latency.engine_ms", stat = "p99", max = 2, confidence = 0.99 }]
        [device.desktop]
        match = { arch = "x86_64" }
        limits = [{ metric = "latency.engine_ms", stat = "p99", max = 1 }]
        """,
    )
    first, second = read_budget(path, DEVICE)
    assert first == Limit(metric="accuracy.exact", min=0.9)
    assert second == Limit(metric="latency.engine_ms", stat="p99", max=2.0, confidence=0.99)
    assert limits_for(path, DEVICE, "benchmarks.latency") == (second,)
    assert limits_for(None, DEVICE, "benchmarks.latency") == ()
    assert capsys.readouterr().err == ""  # one of the devices is this


def test_limits_of_no_device_that_is_this_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(
        tmp_path,
        """
        schema = 1
        limits = [{ metric = "accuracy.exact", min = 0.9 }]
        [device.orin]
        match = { soc = "tegra234", flags = ["i8mm", "sve"], cores = 8 }
        limits = [{ metric = "latency.engine_ms", stat = "p99", max = 2 }]
        """,
    )
    assert len(read_budget(path, DEVICE)) == 1
    told = capsys.readouterr().err
    assert "this is none of its devices" in told
    assert "'orin': no flags ['sve'] here; 6 cores, not 8\n" in told


SIZE = "metric = 'size.engine_mb'"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("schema = 2\nlimits = []", "schema must be 1"),
        ("limits = []", "'schema' is missing"),
        ("schema = 1", "no limit for this device"),
        ("schema = 1\nregresion = 1", "regresion"),
        ("schema = 1\nlimits = [{ metric = 'size.engine_mb', maks = 1, max = 1 }]", "maks"),
        ("schema = 1\nlimits = [{ metric = 'size.engine_mb' }]", "min or max"),
        ("schema = 1\nlimits = [{ metric = 'size.engine_mb', max = nan }]", "finite"),
        ("schema = 1\nlimits = [{ metric = 'size.engine_mb', max = '1' }]", "must be int or float"),
        ("schema = 1\nlimits = [{ metric = 'comfort.level', max = 1 }]", "nothing measures it"),
        (f"schema = 1\nlimits = [{{ {SIZE}, max = 1, confidence = 1 }}]", "confidence"),
        (f"schema = 1\nlimits = [{{ {SIZE}, max = 1, min_samples = 0 }}]", "min_samples"),
        ("schema = 1\n[device.a]\nmatch = { gpu = 'x' }\nlimits = []", "gpu"),
        ("schema = 1\n[device.a]\nmatch = { cpu = 7 }\nlimits = []", "'cpu' must be str"),
        ("schema = 1\n[device.a]\nmatch = { cores = '6' }\nlimits = []", "'cores' must be int"),
        ("schema = 1\n[device.a]\nmatch = { flags = 'i8mm' }\nlimits = []", "must be list"),
        (
            "schema = 1\n[device.a]\nmatch = { flags = ['avx512vnni'] }\nlimits = []",
            r"device 'a': match: no device is known by the flags \['avx512vnni'\]; use some of",
        ),
        ("schema = 1\n[device.a]\nmatch = { flags = [8] }\nlimits = []", "hold only str"),
        ("schema = 1\n[device.a]\nmatch = 7\nlimits = []", "'match' must be dict"),
        ("schema = 1\n[device.a]\nlimits = []\nmatsch = {}", "matsch"),
        (f"schema = 1\nlimits = [{{ {SIZE}, max = 1, scenario = 'sever' }}]", "leave scenario out"),
        (
            "schema = 1\n[device.other]\nmatch = { cpu = 'Z80' }\n"
            "limits = [{ metric = 'accuracy.exakt', min = 0.5 }]",
            r"'accuracy\.exakt': nothing measures it; did you mean accuracy\.exact",
        ),
        ("schema = 1\nlimits = [{ metric = 'speedup.read', min = 1 }]", "benchmarks.compare is"),
        ("schema = ", "cannot be read"),
        ("schema = 1\nload = { camera = 4 }", "camera"),
        ("schema = 1\nload = { cameras = '4' }", "'cameras' must be int or float"),
    ],
)
def test_wrong_budgets_are_refused_by_name(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        read_budget(write(tmp_path, text), DEVICE)


def test_a_budget_may_say_under_which_load_its_limits_hold(tmp_path: Path) -> None:
    limits = "limits = [{ metric = 'frames.dropped', scenario = 'camera', max = 0.01 }]"
    path = write(tmp_path, f"schema = 1\n{limits}\n[load]\ncameras = 4\nfps = 12.5")
    assert read_load(path) == {"cameras": 4, "fps": 12.5}
    (limit,) = read_budget(path, DEVICE)
    assert limit.scenario == "camera"
    assert read_load(write(tmp_path, f"schema = 1\n{limits}")) == {}
    assert {field.name for field in fields(Loads)} >= LOAD_KEYS


def test_missing_budget_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_budget(tmp_path / "none.toml", DEVICE)


def test_budget_for_the_other_command_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "schema = 1\nlimits = [{ metric = 'accuracy.exact', min = 0.9 }]")
    with pytest.raises(ConfigError, match=r"benchmarks\.latency"):
        limits_for(path, DEVICE, "benchmarks.latency")


def test_example_of_the_documentation_is_a_budget(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "budgets.md").read_text(encoding="utf-8")
    example = text.split("```toml\n")[1].split("```")[0]
    metrics = [limit.metric for limit in read_budget(write(tmp_path, example), DEVICE)]
    assert metrics[0] == "accuracy.exact"
    assert metrics[-1] == "latency.engine_ms"  # of the Orin; the other device does not match
    assert len(metrics) == 5
