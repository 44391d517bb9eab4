"""Bare TensorRT engines on an NVIDIA GPU: one context, one stream, no CUDA graphs.

Artifacts have CUDA graphs for their usual batches; an engine call of a small bare engine therefore
takes some 10 us more than it must.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from runtime.cuda import Cuda, PinnedArray
from runtime.errors import EngineError, EngineUnavailableError
from runtime.gpu import cuda_devices
from runtime.trt_module import PACKAGES, import_tensorrt, new_log

from .graphs import Array, Tensor

__all__ = ["TrtGraph"]

_DTYPES: Final[Mapping[str, str]] = {
    "UINT8": "uint8", "INT8": "int8", "FLOAT": "float32", "HALF": "float16"
}  # fmt: skip
_ERRORS: Final = (RuntimeError, ValueError, TypeError, OSError)


class TrtGraph:
    """See ``Graph``; threads take turns.

    Args:
        path: The engine.
        engine: ``trt`` or ``rtx``.

    Raises:
        EngineUnavailableError: TensorRT or cuda-python is not installed, or there is no GPU.
        EngineError: the file is no engine for this TensorRT and GPU.
    """

    def __init__(self, path: Path, *, engine: str) -> None:
        trt, gpus = import_tensorrt(engine), cuda_devices()
        if not gpus:
            raise EngineUnavailableError(f"{path}: a TensorRT engine needs an NVIDIA GPU")
        self._path, self._lock = path, threading.Lock()
        log = new_log(trt)
        try:
            self._runtime = trt.Runtime(log)  # must live as long as its engine
            loaded = self._runtime.deserialize_cuda_engine(path.read_bytes())
        except _ERRORS as error:
            raise EngineError(f"{PACKAGES[engine]} cannot load {path}: {error}") from error
        if loaded is None:
            last = log.errors[-1] if log.errors else "it says no more"
            raise EngineError(f"{PACKAGES[engine]} cannot load {path}: {last}")
        self.inputs, self.outputs = _tensors(trt, loaded)
        self.batches = _batches(loaded, self.inputs[0])
        self._memory: _Memory | None = _Memory(loaded, self.inputs[0], self.outputs, self.batches)
        self.facts: Mapping[str, str] = {
            "engine": PACKAGES[engine],
            "version": str(trt.__version__),
            "device": f"{gpus[0].name}, compute capability {gpus[0].compute_capability}",
            "threads": "1",
        }

    def run(self, feed: Array) -> Sequence[Array]:
        """See ``Graph``."""
        with self._lock:
            if self._memory is None:
                raise EngineError(f"{self._path} was closed")
            try:
                return self._memory.run(feed)
            except _ERRORS as error:
                raise EngineError(f"TensorRT failed on {self._path}: {error}") from error

    def close(self) -> None:
        """See ``Graph``."""
        with self._lock:
            if self._memory is not None:
                self._memory.free()
                self._memory = self._runtime = None


class _Memory:
    """A context with the buffers of its tensors on both sides, for the largest batch."""

    def __init__(
        self,
        engine: Any,
        source: Tensor,
        outputs: Sequence[Tensor],
        batches: tuple[int, int],
    ) -> None:
        self._cuda, self._source = Cuda(), source
        self._context = engine.create_execution_context()
        if self._context is None:
            raise EngineError("TensorRT gives no execution context; is the GPU's memory full?")
        self._stream = self._cuda.new_stream()
        self._hosts: list[PinnedArray] = []
        self._devices: list[int] = []
        largest = batches[1]
        for tensor in (source, *outputs):
            host = PinnedArray(self._cuda, _shape(tensor, largest), np.dtype(tensor.dtype))
            self._hosts.append(host)
            self._devices.append(int(self._cuda.call("cudaMalloc", host.size_bytes)))
            if not self._context.set_tensor_address(tensor.name, self._devices[-1]):
                raise EngineError(f"TensorRT has no tensor {tensor.name!r}")

    def run(self, feed: Array) -> Sequence[Array]:
        count, (image, *scores) = len(feed), self._hosts
        np.copyto(image.array[:count], feed)
        if not self._context.set_input_shape(self._source.name, feed.shape):
            raise EngineError(f"TensorRT does not take an input of {feed.shape}")
        self._cuda.copy_in(self._devices[0], image.pointer, _bytes(image, count), self._stream)
        if not self._context.execute_async_v3(int(self._stream)):
            raise EngineError(f"TensorRT failed on a batch of {count}")
        for host, device in zip(scores, self._devices[1:], strict=True):
            self._cuda.copy_out(host.pointer, device, _bytes(host, count), self._stream)
        self._cuda.wait(self._stream)
        return [host.array[:count].copy() for host in scores]

    def free(self) -> None:
        for host, device in zip(self._hosts, self._devices, strict=True):
            self._cuda.release("cudaFree", device)
            host.free()
        self._cuda.release("cudaStreamDestroy", self._stream)


def _bytes(host: PinnedArray, count: int) -> int:
    return host.size_bytes // len(host.array) * count


def _shape(tensor: Tensor, batch: int) -> tuple[int, ...]:
    sizes = tensor.shape[1:]
    if None in sizes:
        raise EngineError(f"{tensor}: only the batch may be free")
    return (batch, *(size for size in sizes if size is not None))


def _tensors(trt: Any, engine: Any) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    inputs, outputs = list[Tensor](), list[Tensor]()
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        kind = engine.get_tensor_dtype(name).name
        shape = tuple(None if size < 0 else int(size) for size in engine.get_tensor_shape(name))
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        tensor = Tensor(name, _DTYPES.get(kind, kind.lower()), shape)
        (inputs if is_input else outputs).append(tensor)
    return inputs, outputs


def _batches(engine: Any, source: Tensor) -> tuple[int, int]:
    fixed = source.shape[0]
    if fixed is not None:
        return fixed, fixed
    smallest, _, largest = engine.get_tensor_profile_shape(source.name, 0)
    return int(smallest[0]), int(largest[0])
