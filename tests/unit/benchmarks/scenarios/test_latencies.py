from __future__ import annotations

import json
import math

import numpy as np
import pytest

from benchmarks.report import to_json
from benchmarks.scenarios import Latency
from benchmarks.scenarios.latencies import stages_of
from runtime.results import Timings

from .fakes import QUIET


def latency(times_ms: np.ndarray) -> Latency:
    return Latency((times_ms * 1e6).astype(np.int64), QUIET)


def test_no_percentile_below_its_floor() -> None:
    times = np.arange(1.0, 1001.0)
    assert latency(times[:63]).percentile_ms(0.9) is None
    assert latency(times[:64]).percentile_ms(0.9) is not None
    assert latency(times[:661]).percentile_ms(0.99) is None
    assert latency(times[:662]).percentile_ms(0.99) is not None


def test_percentiles_and_bounds_by_hand() -> None:
    found = latency(np.arange(1001.0)[::-1])
    assert found.percentile_ms(0.5) == pytest.approx(500)
    assert found.percentile_ms(0.9) == pytest.approx(900)
    low, high = found.bounds_ms(0.9)
    assert 870 < low < 900 < high < 930
    assert latency(np.ones(3)).bounds_ms(0.5) == (0.0, math.inf)


def test_stages_are_told_apart() -> None:
    found = stages_of([Timings(10**6, 2 * 10**6, 3 * 10**6)] * 20, QUIET)
    assert {name: each.percentile_ms(0.5) for name, each in found.items()} == {
        "prepare": 1.0,
        "engine": 2.0,
        "decode": 3.0,
    }
    assert stages_of([], QUIET) == {}


def test_results_are_json() -> None:
    assert '"p99": null' in to_json(latency(np.ones(100)).to_object())


def test_histogram_bins_hold_their_times_and_runs_are_told_in_order() -> None:
    random = np.random.default_rng(0)
    times = np.sort(random.lognormal(12, 1, 1000).astype(np.int64))
    found = json.loads(to_json(Latency(times, QUIET).to_object()))
    bins = found["histogram"]
    assert sum(bins["counts"]) == 1000
    for i, count in enumerate(bins["counts"]):
        low, high = (10 ** ((bins["first"] + i + j) / bins["per_decade"]) * 1e6 for j in (0, 1))
        assert count == ((times >= low) & (times < high)).sum()
    course = found["over_time_ms"]
    assert len(course["p50"]) == len(course["max"]) == 60
    assert course["max"] == sorted(course["max"])
    assert course["max"][-1] == times[-1] / 1e6
    assert course["p50"][0] == np.median(times[:17]) / 1e6
    nothing = Latency(np.array([], np.int64), QUIET)
    assert nothing.histogram()["counts"] == []
    assert nothing.over_time_ms() == {"p50": [], "max": []}
