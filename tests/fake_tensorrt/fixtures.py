"""Putting the fakes in the place of TensorRT, CUDA and a GPU."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

import export.trt.building
import export.trt.cli
import runtime.session_trt
from runtime.gpu import Gpu
from tests.fake_tensorrt import cuda
from tests.fake_tensorrt.module import make

MODULES = Path(__file__).parent / "modules"
ORIN = Gpu("Orin", "8.7")


def install(monkeypatch: pytest.MonkeyPatch, version: str) -> ModuleType:
    """Put a version in place, here and in processes that are started; return its module."""
    module = make(version)
    cuda.reset()
    monkeypatch.setenv("HEADLIGHT_FAKE_TENSORRT", version)
    monkeypatch.syspath_prepend(MODULES)  # type: ignore[no-untyped-call]
    for name in ("tensorrt", "tensorrt_rtx"):
        # None makes the import fail.
        found = module if name == module.__name__ else None
        monkeypatch.setitem(sys.modules, name, found)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cuda.make())
    for place in (export.trt.building, export.trt.cli, runtime.session_trt):
        monkeypatch.setattr(place, "cuda_devices", lambda: (ORIN,))
    return module
