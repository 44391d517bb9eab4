from __future__ import annotations

import pytest

from benchmarks.noise import Noise
from benchmarks.report import to_json
from benchmarks.scaling.cli import ScalingConfig, _cores
from benchmarks.scaling.picture import drawable_axes
from benchmarks.scaling.points import Point
from runtime.errors import ConfigError


def _point(value: float, rate: float | None, **more: object) -> Point:
    return Point(artifact="a", axis="batch", value=value, samples_per_s=rate, **more)  # type: ignore[arg-type]


def test_growth_is_against_the_first() -> None:
    row = _point(8, 300.0, call_ms=2.0, noise=Noise(1.5)).row(_point(1, 100.0))
    assert row["times the first"] == "3.00"
    assert row["disturbed"] == "1.50 cores"


def test_a_place_that_could_not_be_measured_says_why() -> None:
    point = _point(2, None, reason="the graph fixes its size inside")
    assert point.row(None)["samples/s"] == "- (the graph fixes its size inside)"
    assert '"samples_per_s": null' in to_json(point.to_object())


def test_cores_are_counted_in_powers_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(6)))
    assert _cores(1) == (1, 2, 4)
    assert _cores(2) == (1, 2, 4, 8)


@pytest.mark.parametrize(
    "options",
    [{"batch": (0,)}, {"size": (0.0,)}, {"fps": 0.0}, {"axis": ()}, {"cameras": ()}, {"tries": 0}],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object]) -> None:
    from pathlib import Path

    with pytest.raises(ConfigError):
        ScalingConfig(artifacts=(Path("a"),), **options)  # type: ignore[arg-type]


def test_one_number_is_no_curve() -> None:
    size = Point(artifact="a", axis="size", value=1.0, samples_per_s=5.0)
    fixed = Point(artifact="a", axis="size", value=2.0, reason="fixed")
    assert drawable_axes([_point(1, 10.0), _point(2, 20.0), size, fixed]) == ["batch"]
