from __future__ import annotations

import time

import pytest

from benchmarks.device.energy import Energy, PowerMeter, integrate


def test_power_is_integrated_by_trapezoids() -> None:
    seen = [(0.0, {"a": 1.0, "b": 4.0}), (2.0, {"a": 3.0, "b": 4.0}), (3.0, {"a": 3.0, "b": 0.0})]
    found = integrate("sensor", lambda names: names, seen)
    assert isinstance(found, Energy)
    assert found.parts_j == {"a": 7.0, "b": 10.0}  # 2 * 2 + 1 * 3, and 2 * 4 + 1 * 2
    assert (found.joules, found.seconds) == (17.0, 3.0)
    assert found.watts == pytest.approx(17 / 3)
    assert found.source == "sensor: a + b"


def test_rails_that_are_parts_do_not_count_twice() -> None:
    seen = [(0.0, {"all": 5.0, "part": 4.0}), (1.0, {"all": 5.0, "part": 4.0})]
    found = integrate("sensor", lambda _names: ["all"], seen)
    assert isinstance(found, Energy)
    assert (found.joules, found.source) == (5.0, "sensor: all")


def test_too_few_readings_are_no_energy() -> None:
    found = integrate("sensor", lambda names: names, [(0.0, {"a": 1.0})])
    assert found == "sensor: 1 readings of power are too few; measure longer (--duration)"
    assert isinstance(integrate("sensor", lambda names: names, []), str)


def test_a_meter_reads_until_it_is_stopped_and_can_start_again() -> None:
    meter = PowerMeter("sensor", lambda names: names, lambda: {"a": 2.0}, interval_s=0.01)
    for _ in range(2):
        meter.start()
        time.sleep(0.1)
        found = meter.stop()
        assert isinstance(found, Energy)
        assert found.watts == pytest.approx(2.0)
        assert 0.05 < found.seconds < 5.0
