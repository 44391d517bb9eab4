"""NVIDIA GPUs through NVML, where its Python module (package ``nvidia-ml-py``) is installed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, Final

from .energy import Energy

__all__ = ["NvmlMeter", "gpu_facts", "gpu_used_mb", "open_nvml"]

_HARMLESS: Final = 0x1 | 0x2 | 0x10 | 0x100
"""Reasons why a GPU's clock is not at its highest that are no throttling: it is idle, somebody set
the clocks, it runs in step with others, its display asks for less (nvml.h)."""


def open_nvml() -> Any | str:
    """Return the module, ready for use, or why there is none."""
    try:
        module = import_module("pynvml")
    except ImportError:
        return "pynvml is not installed; pip install nvidia-ml-py"
    try:
        module.nvmlInit()
        if module.nvmlDeviceGetCount() < 1:
            return "NVML knows no GPU"
    except module.NVMLError as error:
        return f"NVML: {error}"
    return module


def _devices(nvml: Any) -> Sequence[Any]:
    return [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]


def gpu_used_mb() -> float | str:
    """Return the memory in use on all GPUs, by anybody, 10^6 bytes; or why it is not known."""
    nvml = open_nvml()
    if isinstance(nvml, str):
        return nvml
    try:
        used = [nvml.nvmlDeviceGetMemoryInfo(device).used for device in _devices(nvml)]
    except nvml.NVMLError as error:  # integrated GPUs share the memory of the processor
        return f"NVML tells no memory: {error}"
    return float(sum(used)) / 1e6


def gpu_facts() -> Sequence[Mapping[str, Any]] | str:
    """Return what NVML tells of each GPU now: name, clock, temperature, why it is slowed."""
    nvml = open_nvml()
    if isinstance(nvml, str):
        return nvml
    return [_facts(nvml, device) for device in _devices(nvml)]


def _facts(nvml: Any, device: Any) -> Mapping[str, Any]:
    asked: Mapping[str, Callable[[], Any]] = {
        "name": lambda: _text(nvml.nvmlDeviceGetName(device)),
        "driver": lambda: _text(nvml.nvmlSystemGetDriverVersion()),
        "clock_mhz": lambda: nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_SM),
        "highest_clock_mhz": lambda: nvml.nvmlDeviceGetMaxClockInfo(device, nvml.NVML_CLOCK_SM),
        "temperature_c": lambda: nvml.nvmlDeviceGetTemperature(device, nvml.NVML_TEMPERATURE_GPU),
        "power_limit_w": lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(device) / 1e3,
        "slowed": lambda: bool(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(device) & ~_HARMLESS),
    }
    facts: dict[str, Any] = dict.fromkeys(asked)
    for name, ask in asked.items():
        with suppress(nvml.NVMLError):  # integrated GPUs tell only some
            facts[name] = ask()
    return facts


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


class NvmlMeter:
    """The energy counters of all GPUs (Volta and newer), in millijoules since the driver started.

    Args:
        nvml: The module, ready for use.
    """

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._start_s, self._start_mj = 0.0, list[int]()

    def start(self) -> None:
        """See ``Meter``."""
        self._start_s = time.monotonic()
        self._start_mj = []
        with suppress(self._nvml.NVMLError):  # told by ``stop``
            self._start_mj = self._read()

    def stop(self) -> Energy | str:
        """See ``Meter``."""
        try:
            last = self._read()
        except self._nvml.NVMLError as error:
            return f"NVML tells no energy: {error}"
        if len(self._start_mj) != len(last):
            return "NVML told no energy when the run began"
        parts = {
            f"GPU {number}": (after - before) / 1e3
            for number, (before, after) in enumerate(zip(self._start_mj, last, strict=True))
        }
        return Energy(
            source=f"NVML: {' + '.join(parts)}",
            joules=sum(parts.values()),
            seconds=time.monotonic() - self._start_s,
            parts_j=parts,
        )

    def _read(self) -> list[int]:
        read = self._nvml.nvmlDeviceGetTotalEnergyConsumption
        return [int(read(device)) for device in _devices(self._nvml)]
