from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.device.energy import Energy, PowerMeter
from benchmarks.device.meters import Together, find_meter
from benchmarks.device.nvml import NvmlMeter
from benchmarks.device.rapl import RaplMeter
from benchmarks.device.tegrastats import Tegrastats

from .test_nvml import FakeNvml
from .trees import ORIN, RAPL, plant


@pytest.fixture(autouse=True)
def _bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setitem(sys.modules, "pynvml", None)


def test_nothing_is_a_reason_that_names_all_sources(tmp_path: Path) -> None:
    found = str(find_meter(tmp_path))
    assert all(word in found for word in ("INA3221", "tegrastats", "RAPL"))


def test_the_whole_module_comes_first(tmp_path: Path) -> None:
    plant(tmp_path, {**RAPL, **ORIN})
    assert isinstance(find_meter(tmp_path), PowerMeter)
    assert isinstance(find_meter(tmp_path, gpu=True), PowerMeter)


def test_tegrastats_comes_next(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "tegrastats"
    plant(tmp_path, {**RAPL, "bin/tegrastats": "#!/bin/sh"})
    program.chmod(0o755)
    assert isinstance(find_meter(tmp_path), Tegrastats)


def test_an_engine_on_a_gpu_needs_the_gpus_counter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, RAPL)
    assert isinstance(find_meter(tmp_path), RaplMeter)
    assert "pynvml" in str(find_meter(tmp_path, gpu=True))
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    assert isinstance(find_meter(tmp_path, gpu=True), Together)
    assert isinstance(find_meter(tmp_path / "none", gpu=True), NvmlMeter)


class _Fixed:
    def __init__(self, found: Energy | str) -> None:
        self._found = found

    def start(self) -> None:
        pass

    def stop(self) -> Energy | str:
        return self._found


def test_parts_add_up_by_power() -> None:
    one = Energy(source="A", joules=10.0, seconds=2.0, parts_j={"a": 10.0})
    other = Energy(source="B", joules=9.0, seconds=3.0, parts_j={"b": 9.0})
    found = Together([_Fixed(one), _Fixed(other)]).stop()
    assert isinstance(found, Energy)
    assert found.watts == pytest.approx(5.0 + 3.0)
    assert (found.source, set(found.parts_j)) == ("A; B", {"a", "b"})


def test_a_part_that_is_not_known_leaves_nothing() -> None:
    one = Energy(source="A", joules=10.0, seconds=2.0, parts_j={})
    assert Together([_Fixed(one), _Fixed("B is gone")]).stop() == "B is gone"
