"""The few calls of the CUDA runtime that a session needs, through NVIDIA's cuda-python."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .errors import EngineError, EngineUnavailableError

__all__ = ["Cuda", "PinnedArray"]

_MODULES: Final = ("cuda.bindings.runtime", "cuda.cudart")
"""Since cuda-python 12.6, and before."""


class Cuda:
    """CUDA's runtime, every call checked.

    Raises:
        EngineUnavailableError: cuda-python is not installed.
    """

    def __init__(self) -> None:
        self._api = _import()

    def call(self, name: str, *values: Any) -> Any:
        """Call a function and return its result without the error code.

        Raises:
            EngineError: it failed.
        """
        error, *results = getattr(self._api, name)(*values)
        if int(error):
            raise EngineError(f"CUDA: {name} failed: {self._text(error)}")
        return results[0] if results else None

    def release(self, name: str, value: Any) -> None:
        """Call a function that frees something; after a failure CUDA frees nothing more."""
        getattr(self._api, name)(value)

    def _text(self, error: Any) -> str:
        _, text = self._api.cudaGetErrorString(error)
        return text.decode(errors="replace") if isinstance(text, bytes) else str(error)

    def new_stream(self) -> Any:
        """Return a stream of its own, which does not wait for the default one."""
        return self.call("cudaStreamCreateWithFlags", self._api.cudaStreamNonBlocking)

    def wait(self, stream: Any) -> None:
        """Wait until everything on a stream is done."""
        self.call("cudaStreamSynchronize", stream)

    def copy_in(self, device: int, host: int, size_bytes: int, stream: Any) -> None:
        """Copy from pinned host memory to the device when the stream comes to it."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self.call("cudaMemcpyAsync", device, host, size_bytes, kind, stream)

    def copy_out(self, host: int, device: int, size_bytes: int, stream: Any) -> None:
        """Copy from the device to pinned host memory when the stream comes to it."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self.call("cudaMemcpyAsync", host, device, size_bytes, kind, stream)

    def capture(self, stream: Any, enqueue: Callable[[], None]) -> Any:
        """Record what ``enqueue`` puts on a stream, without running it; return what runs it.

        Raises:
            EngineError: something in it cannot be recorded.
        """
        mode = self._api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.call("cudaStreamBeginCapture", stream, mode)
        try:
            enqueue()
        except BaseException:
            self._api.cudaStreamEndCapture(stream)  # leaves the stream usable
            raise
        graph = self.call("cudaStreamEndCapture", stream)
        try:
            # The name without WithFlags takes other arguments in CUDA 11 than since 12.
            return self.call("cudaGraphInstantiateWithFlags", graph, 0)
        finally:
            self.release("cudaGraphDestroy", graph)


class PinnedArray:
    """Host memory that the GPU copies from and to without a detour, seen as an array.

    Args:
        cuda: The runtime.
        shape: Of the array.
        dtype: Of the array.
    """

    def __init__(self, cuda: Cuda, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self._cuda = cuda
        count = int(np.prod(shape))
        self.size_bytes = count * np.dtype(dtype).itemsize
        self.pointer = int(cuda.call("cudaHostAlloc", self.size_bytes, 0))
        memory: Any = (ctypes.c_uint8 * self.size_bytes).from_address(self.pointer)
        self.array: npt.NDArray[Any] = np.frombuffer(memory, dtype, count).reshape(shape)

    def free(self) -> None:
        """Give the memory back; the array must not be touched any more."""
        self._cuda.release("cudaFreeHost", self.pointer)


def _import() -> Any:
    newer, older = _MODULES
    try:
        return importlib.import_module(newer)
    except ImportError:
        pass
    try:
        return importlib.import_module(older)
    except ImportError as error:
        raise EngineUnavailableError(
            f"cuda-python cannot be imported (tried {newer} and {older}: {error}); run: pip "
            "install 'headlight[tensorrt]'"
        ) from error
