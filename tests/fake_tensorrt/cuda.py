"""cuda-python's runtime bindings in host memory; every call is recorded in ``CALLS``."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from enum import IntEnum
from types import ModuleType, SimpleNamespace
from typing import Any

CALLS: list[str] = []
LIVE: dict[int, Any] = {}
"""Address or handle to what has not been freed."""
FAILING: set[str] = set()
"""Functions that return an error."""
_STATE = SimpleNamespace(capturing=None, next_handle=1)

Work = Callable[[], None]


class Error(IntEnum):
    SUCCESS = 0
    FAILED = 700


MemcpyKind = IntEnum("MemcpyKind", ["cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost"])
CaptureMode = IntEnum("CaptureMode", ["cudaStreamCaptureModeThreadLocal"])


def reset() -> None:
    CALLS.clear()
    LIVE.clear()
    FAILING.clear()
    _STATE.capturing = None


def enqueue(work: Work) -> None:
    """Run ``work`` now, or record it while a stream is captured."""
    if _STATE.capturing is None:
        work()
    else:
        _STATE.capturing.append(work)


def _handle(value: Any) -> int:
    _STATE.next_handle += 1
    LIVE[_STATE.next_handle] = value
    return int(_STATE.next_handle)


def _memory(size: int) -> tuple[Any, int]:
    block = (ctypes.c_uint8 * size)()
    LIVE[ctypes.addressof(block)] = block
    return Error.SUCCESS, ctypes.addressof(block)


def _free(address: int) -> tuple[Any]:
    del LIVE[address]
    return (Error.SUCCESS,)


def _copy(target: int, source: int, size: int, kind: int, stream: int) -> tuple[Any]:
    assert stream in LIVE
    device, host = (target, source) if kind == 1 else (source, target)
    assert device in LIVE
    assert host in LIVE
    assert size <= min(len(LIVE[device]), len(LIVE[host]))
    enqueue(lambda: ctypes.memmove(target, source, size) and None)
    return (Error.SUCCESS,)


def _begin(stream: int, mode: int) -> tuple[Any]:
    assert stream in LIVE
    assert mode == CaptureMode.cudaStreamCaptureModeThreadLocal
    assert _STATE.capturing is None
    _STATE.capturing = []
    return (Error.SUCCESS,)


def _end(stream: int) -> tuple[Any, int]:
    assert stream in LIVE
    recorded, _STATE.capturing = _STATE.capturing, None
    return Error.SUCCESS, _handle(recorded)


def _launch(graph: int, stream: int) -> tuple[Any]:
    assert stream in LIVE
    for work in LIVE[graph]:
        work()
    return (Error.SUCCESS,)


_FUNCTIONS: dict[str, Callable[..., tuple[Any, ...]]] = {
    "cudaStreamCreateWithFlags": lambda flags: (Error.SUCCESS, _handle(f"stream {flags}")),
    "cudaStreamSynchronize": lambda stream: (Error.SUCCESS,),
    "cudaStreamDestroy": _free,
    "cudaMalloc": _memory,
    "cudaFree": _free,
    "cudaHostAlloc": lambda size, flags: _memory(size),
    "cudaFreeHost": _free,
    "cudaMemcpyAsync": _copy,
    "cudaStreamBeginCapture": _begin,
    "cudaStreamEndCapture": _end,
    "cudaGraphInstantiateWithFlags": lambda graph, flags: (Error.SUCCESS, _handle(LIVE[graph])),
    "cudaGraphLaunch": _launch,
    "cudaGraphDestroy": _free,
    "cudaGraphExecDestroy": _free,
    "cudaGetErrorString": lambda error: (Error.SUCCESS, f"error {int(error)}".encode()),
}


def _recorded(name: str, function: Callable[..., tuple[Any, ...]]) -> Callable[..., Any]:
    def call(*values: Any) -> tuple[Any, ...]:
        CALLS.append(name)
        if name not in FAILING:
            return function(*values)
        if name == "cudaStreamEndCapture":
            _STATE.capturing = None  # whatever it returns, capturing has ended
        return Error.FAILED, None

    return call


def make(name: str = "cuda.bindings.runtime") -> ModuleType:
    """Return the module."""
    module: Any = ModuleType(name)
    for function_name, function in _FUNCTIONS.items():
        setattr(module, function_name, _recorded(function_name, function))
    module.cudaStreamNonBlocking = 1
    module.cudaMemcpyKind = MemcpyKind
    module.cudaStreamCaptureMode = CaptureMode
    return module  # type: ignore[no-any-return]
