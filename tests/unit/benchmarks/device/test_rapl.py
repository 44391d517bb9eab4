from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.device.energy import Energy
from benchmarks.device.rapl import RaplMeter, find_rapl

from .trees import RAPL, plant

PACKAGE = "sys/class/powercap/intel-rapl:0/energy_uj"
DRAM = "sys/class/powercap/intel-rapl:0:1/energy_uj"


def test_packages_and_their_memory_count(tmp_path: Path) -> None:
    meter = find_rapl(plant(tmp_path, RAPL))
    assert isinstance(meter, RaplMeter)
    meter.start()
    # The package's counter started again from 0: 100,000 up to its end, 50,000 after it.
    plant(tmp_path, {PACKAGE: "50000", DRAM: "230000"})
    found = meter.stop()
    assert isinstance(found, Energy)
    assert found.joules == pytest.approx(0.15 + 0.03)
    assert found.source == "RAPL: package-0 + package-0 dram"
    assert found.parts_j["package-0 core"] == 0.0  # part of the package


def test_a_counter_that_vanishes_is_no_energy(tmp_path: Path) -> None:
    meter = find_rapl(plant(tmp_path, RAPL))
    assert isinstance(meter, RaplMeter)
    meter.start()
    (tmp_path / DRAM).unlink()
    assert "cannot be read any more" in str(meter.stop())


def test_why_there_is_no_meter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no RAPL counters" in str(find_rapl(tmp_path))
    plant(tmp_path, RAPL)
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    assert "only root" in str(find_rapl(tmp_path))
