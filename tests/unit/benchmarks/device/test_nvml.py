from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.device.energy import Energy
from benchmarks.device.nvml import NvmlMeter, gpu_facts, gpu_used_mb, open_nvml


class FakeNvml:
    """As much of ``pynvml`` as is used, with two GPUs."""

    NVML_CLOCK_SM = 1
    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        """What all its functions raise."""

    def __init__(self) -> None:
        self.energy_mj = {0: 1000, 1: 5000}
        self.reasons = 0
        self.refuses: set[str] = set()
        self.count = 2

    def __getattr__(self, name: str) -> Any:
        answers: dict[str, Any] = {
            "nvmlInit": lambda: None,
            "nvmlDeviceGetCount": lambda: self.count,
            "nvmlDeviceGetHandleByIndex": lambda index: index,
            "nvmlDeviceGetMemoryInfo": lambda device: SimpleNamespace(used=(device + 1) * 10**9),
            "nvmlDeviceGetName": lambda device: f"GPU {device}".encode(),
            "nvmlSystemGetDriverVersion": lambda: "580.1",
            "nvmlDeviceGetClockInfo": lambda _device, _kind: 1400,
            "nvmlDeviceGetMaxClockInfo": lambda _device, _kind: 1980,
            "nvmlDeviceGetTemperature": lambda _device, _kind: 60,
            "nvmlDeviceGetEnforcedPowerLimit": lambda _device: 72_000,
            "nvmlDeviceGetCurrentClocksThrottleReasons": lambda _device: self.reasons,
            "nvmlDeviceGetTotalEnergyConsumption": lambda device: self.energy_mj[device],
        }
        if name in self.refuses:
            return self._refuse
        if name not in answers:
            raise AttributeError(name)
        return answers[name]

    def _refuse(self, *_: object) -> None:
        raise self.NVMLError("Not Supported")


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


def test_without_the_package_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu_used_mb() == "pynvml is not installed; pip install nvidia-ml-py"
    assert isinstance(gpu_facts(), str)


def test_memory_of_all_gpus(nvml: FakeNvml) -> None:
    assert gpu_used_mb() == 3000.0
    nvml.refuses = {"nvmlDeviceGetMemoryInfo"}
    assert gpu_used_mb() == "NVML tells no memory: Not Supported"


def test_no_gpu_and_no_driver_are_reasons(nvml: FakeNvml) -> None:
    nvml.count = 0
    assert open_nvml() == "NVML knows no GPU"
    nvml.refuses = {"nvmlInit"}
    assert open_nvml() == "NVML: Not Supported"


def test_facts_that_one_gpu_does_not_tell_are_none(nvml: FakeNvml) -> None:
    nvml.refuses = {"nvmlDeviceGetEnforcedPowerLimit"}
    first, _ = gpu_facts()
    assert isinstance(first, dict)
    assert first["name"] == "GPU 0"
    assert first["power_limit_w"] is None
    assert (first["clock_mhz"], first["highest_clock_mhz"], first["slowed"]) == (1400, 1980, False)


@pytest.mark.parametrize(("reasons", "slowed"), [(0x1, False), (0x20, True), (0x4, True)])
def test_a_gpu_is_slowed_by_heat_and_power_but_not_by_idling(
    nvml: FakeNvml, reasons: int, slowed: bool
) -> None:
    nvml.reasons = reasons
    facts = gpu_facts()
    assert not isinstance(facts, str)
    assert facts[0]["slowed"] is slowed


def test_energy_of_all_gpus(nvml: FakeNvml) -> None:
    meter = NvmlMeter(nvml)
    meter.start()
    nvml.energy_mj = {0: 3000, 1: 5500}
    found = meter.stop()
    assert isinstance(found, Energy)
    assert found.parts_j == {"GPU 0": 2.0, "GPU 1": 0.5}
    assert found.joules == 2.5


def test_a_gpu_without_a_counter_is_a_reason(nvml: FakeNvml) -> None:
    meter = NvmlMeter(nvml)
    nvml.refuses = {"nvmlDeviceGetTotalEnergyConsumption"}
    meter.start()
    assert meter.stop() == "NVML tells no energy: Not Supported"
    nvml.refuses = set()
    assert meter.stop() == "NVML told no energy when the run began"
