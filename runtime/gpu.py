"""Which NVIDIA GPUs this machine has, asked of the driver alone: no torch, no CUDA toolkit."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Gpu", "cuda_devices"]

_DRIVER: Final = "libcuda.so.1"
_CAPABILITY_MAJOR: Final = 75  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
_CAPABILITY_MINOR: Final = 76
_NAME_BYTES: Final = 128


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU that CUDA can use."""

    name: str
    """As the driver calls it: ``Orin``, ``NVIDIA L4``."""
    compute_capability: str
    """``8.7``."""


def cuda_devices() -> tuple[Gpu, ...]:
    """Return the GPUs in CUDA's order; none where there is no driver or no device."""
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return ()
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return ()
    return tuple(_describe(driver, index) for index in range(count.value))


def _describe(driver: Any, index: int) -> Gpu:
    device = ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(device), index)
    name = ctypes.create_string_buffer(_NAME_BYTES)
    driver.cuDeviceGetName(name, _NAME_BYTES, device)
    version = [ctypes.c_int(), ctypes.c_int()]
    for value, number in zip(version, (_CAPABILITY_MAJOR, _CAPABILITY_MINOR), strict=True):
        driver.cuDeviceGetAttribute(ctypes.byref(value), number, device)
    return Gpu(name.value.decode(errors="replace"), f"{version[0].value}.{version[1].value}")
