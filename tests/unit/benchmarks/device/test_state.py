from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.device import state as module
from benchmarks.device.readings import folders
from benchmarks.device.sampling import state_of
from benchmarks.device.state import power_mode, read_state

from .trees import ORIN, XEON, plant


@pytest.fixture(autouse=True)
def _one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "own_cores", lambda: [0])


def test_a_jetson_tells_its_state(tmp_path: Path) -> None:
    found = read_state(plant(tmp_path, ORIN))
    assert (found.governors, found.cpu_mhz) == (["schedutil"], [1510.4])
    assert found.cpu_limits_mhz == (729.6, 1510.4)
    assert found.clocks_locked is False
    assert found.gpu_mhz == {"17000000.gpu": 624.75}  # the video engine is no GPU
    assert found.temperatures_c == {"cpu-thermal": 52.968}  # a part that is off has none
    assert found.throttle_events == {"oc1_event_cnt": 0, "oc3_event_cnt": 2}
    assert found.throttling == {}  # a fan that turns slows nothing
    assert found.ticks == (35, 1000)  # guest time is part of user time
    assert found.swapped_in_pages == 12
    assert found.memory_available_mb == 1.024
    assert found.load == [0.5, 0.4, 0.3]


def test_a_server_tells_its_state(tmp_path: Path) -> None:
    found = read_state(plant(tmp_path, XEON))
    assert found.clocks_locked is True
    assert found.turbo is False
    assert found.throttle_events == {"core_throttle_count": 4, "package_throttle_count": 9}
    assert found.temperatures_c == {"Package id 0": 61.0}
    assert found.throttling == {}  # neither an idle clamp nor a setting


def test_cooling_that_slows_is_told(tmp_path: Path) -> None:
    plant(tmp_path, {**ORIN, "sys/class/thermal/cooling_device1/cur_state": "1"})
    assert read_state(tmp_path).throttling == {"cpu-throttle-alert": 1}


def test_a_raspberry_tells_why_it_is_slow(tmp_path: Path) -> None:
    # Bits 16 and above are of the past.
    plant(tmp_path, {"sys/devices/platform/soc/soc:firmware/get_throttled": "50005"})
    assert set(read_state(tmp_path).throttling) == {"under-voltage", "throttled"}


def test_what_cannot_be_read_is_missing_and_not_zero(tmp_path: Path) -> None:
    found = read_state(tmp_path)
    assert found.turbo is found.ticks is found.cpu_limits_mhz is found.clocks_locked is None
    empty = (found.cpu_mhz, found.temperatures_c, found.throttle_events, found.load)
    assert [len(each) for each in empty] == [0, 0, 0, 0]


def test_a_line_of_the_sampler_is_the_state_again(tmp_path: Path) -> None:
    from dataclasses import asdict

    found = read_state(plant(tmp_path, ORIN))
    assert state_of(json.loads(json.dumps(asdict(found)))) == found


def test_folders_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        (tmp_path / f"hwmon{number}").mkdir()
    assert [path.name for path in folders(tmp_path, "hwmon*")] == ["hwmon1", "hwmon2", "hwmon10"]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    def make(name: str, text: str) -> None:
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", str(path.parent), prepend=":")

    return make


def test_nvpmodel_names_the_power_mode(program: Callable[[str, str], None]) -> None:
    program("nvpmodel", 'test "$1" = -q && printf "NV Fan Mode:quiet\\nNV Power Mode: 15W\\n0\\n"')
    assert power_mode() == "15W"


def test_no_power_mode_without_or_with_a_failing_nvpmodel(
    program: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    program("nvpmodel", "exit 1")
    assert power_mode() is None
    monkeypatch.setenv("PATH", "")
    assert power_mode() is None
