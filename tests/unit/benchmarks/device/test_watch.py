from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.device import state as state_module
from benchmarks.device.sampling import COMMAND
from benchmarks.device.state import State, read_state
from benchmarks.device.watch import Course, StateWatch
from benchmarks.report import to_json

from .trees import XEON, plant


@pytest.fixture
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    monkeypatch.setattr(state_module, "own_cores", lambda: [0])
    return replace(read_state(plant(tmp_path, XEON)), ticks=(0, 1000), swapped_in_pages=5)


def _course(before: State, *during: State, **options: Any) -> Course:
    after = options.pop("after", before)
    modes = options.pop("modes", (None, None))
    return Course(before=before, during=during, after=after, modes=modes, **options)


def test_a_device_that_stays_as_it_was_is_undisturbed(quiet: State) -> None:
    course = _course(quiet, quiet, quiet)
    assert list(course.disturbances) == list(course.notes) == []
    to_json(course.to_object())


def _disturbed(quiet: State, **change: Any) -> Sequence[str]:
    return _course(quiet, replace(quiet, **change), after=replace(quiet, **change)).disturbances


def test_each_disturbance_is_told(quiet: State) -> None:
    grown = {**quiet.throttle_events, "core_throttle_count": 7}
    assert _disturbed(quiet, throttle_events=grown) == ["throttled 3 times (core_throttle_count)"]
    assert _disturbed(quiet, throttling={"gpu-throttle-alert": 1}) == [
        "slowed by its cooling (gpu-throttle-alert)"
    ]
    assert _disturbed(quiet, ticks=(30, 2000)) == ["the hypervisor took 3.0% of the CPU time"]
    assert _disturbed(quiet, ticks=(5, 2000)) == []
    assert _disturbed(quiet, swapped_in_pages=9) == ["4 pages were swapped in"]
    assert _disturbed(quiet, governors=["powersave"]) == ["the governor was changed"]


def test_a_change_of_the_power_mode_is_told(quiet: State) -> None:
    course = _course(quiet, modes=("MAXN", "15W"))
    assert course.disturbances == ["the power mode changed from MAXN to 15W"]


def test_a_falling_clock_disturbs_unless_it_follows_the_load(quiet: State) -> None:
    slow = replace(quiet, cpu_mhz=[1300.0])
    assert _course(quiet, quiet, slow).disturbances == ["the clock fell from 2600 to 1300 MHz"]
    free = replace(quiet, governors=["schedutil"], cpu_limits_mhz=(800.0, 2600.0))
    course = _course(free, free, replace(free, cpu_mhz=[1300.0]))
    assert list(course.disturbances) == []
    assert "between 1300 and 2600 MHz" in course.notes[0]


def test_the_fastest_core_counts(quiet: State) -> None:
    # Idle cores may be as slow as they like.
    first, second = (
        replace(quiet, cpu_mhz=clocks) for clocks in ([2600.0, 800.0], [800.0, 2590.0])
    )
    assert list(_course(quiet, first, second).disturbances) == []


def test_a_gpu_that_is_slowed_disturbs(quiet: State) -> None:
    facts = [{"name": "NVIDIA L4", "slowed": True}]
    assert _course(quiet, gpus=facts).disturbances == ["the GPU NVIDIA L4 is slowed"]
    assert list(_course(quiet, gpus="no NVML").disturbances) == []


def test_the_hottest_moment_counts(quiet: State) -> None:
    hot = replace(quiet, temperatures_c={"Package id 0": 83.0})
    assert _course(quiet, hot, quiet).hottest_c == {"Package id 0": 83.0}


def test_a_watch_sees_what_changes_meanwhile(tmp_path: Path) -> None:
    core = "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
    with StateWatch(interval_s=0.05, root=plant(tmp_path, XEON)) as watch:
        time.sleep(0.5)
        plant(tmp_path, {core: "5", "sys/class/hwmon/hwmon0/temp1_input": "90000"})
        time.sleep(0.5)
    course = watch.course
    assert course.disturbances == ["throttled 1 times (core_throttle_count)"]
    assert course.hottest_c == {"Package id 0": 90.0}
    assert len(course.during) > 2
    assert all(course.before.at_ns < s.at_ns < course.after.at_ns for s in course.during)


def test_a_watch_without_a_child_knows_the_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "missing"))
    with StateWatch(root=plant(tmp_path, XEON)) as watch:
        pass
    assert list(watch.course.during) == []
    assert watch.course.before.throttle_events == watch.course.after.throttle_events


def test_the_sampler_ends_with_its_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", COMMAND, "60", str(tmp_path)]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=30, check=True)
    assert len(done.stdout.splitlines()) == 1


def test_a_sampler_that_hangs_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
    monkeypatch.setattr("benchmarks.device.watch._PATIENCE_S", 0.1)
    with StateWatch(root=tmp_path) as watch:
        pass
    assert list(watch.course.during) == []


def test_a_block_that_fails_leaves_no_process(tmp_path: Path) -> None:
    watch = StateWatch(root=tmp_path)
    with pytest.raises(ValueError, match="void"), watch:
        raise ValueError("void")
    assert watch._child is not None
    assert watch._child.poll() is not None
