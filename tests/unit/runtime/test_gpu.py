"""The GPU probe on a driver that is none."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

import runtime.gpu
from runtime.gpu import Gpu, cuda_devices


class Driver:
    """CUDA's driver library with two GPUs."""

    NAMES = (b"Orin", b"NVIDIA L4")
    CAPABILITIES = ((8, 7), (8, 9))

    def __init__(self, init: int = 0, count: int = 2) -> None:
        self.init, self.count = init, count

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.init

    def cuDeviceGetCount(self, target: Any) -> int:  # noqa: N802
        target._obj.value = self.count
        return 0

    def cuDeviceGet(self, target: Any, index: int) -> int:  # noqa: N802
        target._obj.value = index
        return 0

    def cuDeviceGetName(self, target: Any, size: int, device: Any) -> int:  # noqa: N802
        target.value = self.NAMES[device.value]
        return 0

    def cuDeviceGetAttribute(self, target: Any, attribute: int, device: Any) -> int:  # noqa: N802
        target._obj.value = self.CAPABILITIES[device.value][attribute - 75]
        return 0


def probed(monkeypatch: pytest.MonkeyPatch, driver: Driver) -> tuple[Gpu, ...]:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    return cuda_devices()


def test_gpus_are_named_with_their_compute_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    assert probed(monkeypatch, Driver()) == (Gpu("Orin", "8.7"), Gpu("NVIDIA L4", "8.9"))


def test_a_driver_without_a_device_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert probed(monkeypatch, Driver(count=0)) == ()
    assert probed(monkeypatch, Driver(init=100)) == ()


def test_without_a_driver_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.gpu, "_DRIVER", "libcuda-that-is-not-there.so.1")
    assert cuda_devices() == ()
