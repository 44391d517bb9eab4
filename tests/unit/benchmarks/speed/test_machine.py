from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.cold_start import ColdStarts
from benchmarks.device.state import State, read_state
from benchmarks.device.watch import Course
from benchmarks.noise import Noise
from benchmarks.scenarios import Latency
from benchmarks.speed import Speed
from benchmarks.speed.footprint import ColdStartFinding
from benchmarks.speed.machine import MachineFinding

SESSION = {"engine": "onnxruntime", "version": "1.31", "device": "cpu", "fallback": "2 fp32"}


@pytest.fixture
def state(tmp_path: Path) -> State:
    return read_state(tmp_path)


def _cold(cores: float | None) -> ColdStartFinding:
    import numpy as np

    times = np.full(11, 10**8, np.int64)
    return ColdStartFinding(
        ColdStarts(Latency(times, Noise(cores)), 40.0, 90.0, None, "on the CPU")
    )


def _machine(state: State, **change: object) -> MachineFinding:
    after = replace(state, **change)  # type: ignore[arg-type]
    return MachineFinding(
        Course(before=state, during=[], after=after, modes=("15W", "15W")), SESSION
    )


def test_the_engine_that_really_ran_is_told(state: State) -> None:
    rows = _machine(state).rows()
    assert rows["ran on"] == "onnxruntime version 1.31, device cpu, fallback 2 fp32"
    assert rows["power mode"] == "15W"
    assert _machine(state).to_object()["session"] == SESSION


def test_a_disturbed_run_is_marked_with_all_reasons(state: State) -> None:
    machine = _machine(state, throttling={"cpu-throttle-alert": 2})
    speed = Speed({"cold-start": _cold(0.5), "machine": machine})
    assert speed.disturbances == [
        "slowed by its cooling (cpu-throttle-alert)",
        "other processes used up to 0.50 cores",
    ]
    assert "slowed by its cooling" in speed.rows()["disturbed"]
    assert speed.to_object()["disturbed"] == speed.disturbances


def test_an_undisturbed_run_is_not(state: State) -> None:
    speed = Speed({"cold-start": _cold(0.0), "machine": _machine(state)})
    assert speed.rows()["disturbed"] == "no"
    assert list(speed.disturbances) == []


def test_a_machine_that_tells_no_load_is_in_doubt(state: State) -> None:
    speed = Speed({"cold-start": _cold(None), "machine": _machine(state)})
    assert list(speed.disturbances) == ["nobody knows what other processes used"]


def test_memory_is_told_and_can_be_limited() -> None:
    found = _cold(0.0)
    sizes = {each.metric: each.value for each in found.measurements() if "size" in each.metric}
    assert sizes == {"size.pss_mb": 40.0, "size.peak_rss_mb": 90.0}  # no GPU is not 0 MB
    told = found.to_object()["cold_start"]
    assert (told["gpu_mb"], told["no_gpu"]) == (None, "on the CPU")
