"""Running a TensorRT engine: its buffers, its stream, and a CUDA graph per usual batch size.

Everything here is for one thread at a time. What a batch needs, copying in, computing, copying
out, is put on one stream of our own. For the usual batch sizes that sequence is recorded once as
a CUDA graph, so that the next time one call starts all of it. A graph keeps the shapes, addresses
and context it was recorded with, so each has a context of its own.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from .arrays import Images
from .cuda import Cuda, PinnedArray
from .errors import ConfigError, EngineError
from .graph_contract import Scores
from .preprocess import InputSpec
from .schema import INPUT_NAME, Head

__all__ = ["TrtLanes", "uses_graphs"]

GRAPHS_VARIABLE: Final = "HEADLIGHT_CUDA_GRAPHS"


@dataclass(frozen=True, slots=True)
class _Tensor:
    """An input or output of the engine, on both sides of the copy, for the largest batch."""

    name: str
    host: PinnedArray
    device: int

    def size_bytes(self, count: int) -> int:
        """Return the bytes of the first ``count`` samples."""
        return self.host.size_bytes // len(self.host.array) * count


@dataclass(slots=True)
class _Lane:
    """A context and, where one was recorded, the CUDA graph of its batch size."""

    context: Any
    batch: int = 0
    graph: Any = None


class TrtLanes:
    """Contexts, graphs and memory of one engine.

    Args:
        trt: TensorRT's module.
        engine: ``ICudaEngine``.
        spec: Size of the input.
        heads: The outputs.
        largest: Samples that the memory is for.
        recorded: Batch sizes to record a graph of, when they first come.

    Raises:
        EngineError: out of memory, or the engine gives no context.
    """

    def __init__(
        self,
        trt: Any,
        engine: Any,
        spec: InputSpec,
        heads: Sequence[Head],
        *,
        largest: int,
        recorded: Collection[int],
    ) -> None:
        self._trt, self._engine, self._spec = trt, engine, spec
        self._cuda = Cuda()
        self._recorded = frozenset(recorded)
        self._tensors: list[_Tensor] = []
        self._lanes: dict[int, _Lane] = {}
        self.problem = ""
        """Why graphs are not recorded though they should be."""
        self._stream = self._cuda.new_stream()
        try:
            self._add(INPUT_NAME, (largest, *spec.shape), np.uint8)
            for head in heads:
                self._add(head.name, (largest, head.size), np.float32)
            self._lane(min(self._recorded, default=1))
        except BaseException:
            self.close()
            raise

    @property
    def graphs(self) -> Collection[int]:
        """Batch sizes that have a graph, or will have when they first come."""
        return self._recorded

    def infer(self, images: Images) -> Scores:
        """Score a batch that the engine's profile allows.

        Raises:
            EngineError: the engine or CUDA failed.
        """
        count = len(images)
        inputs, *outputs = self._tensors
        np.copyto(inputs.host.array[:count], images)
        lane = self._lane(count)
        if lane.graph is None:
            self._enqueue(lane, count)
        else:
            self._cuda.call("cudaGraphLaunch", lane.graph, self._stream)
        self._cuda.wait(self._stream)
        return [tensor.host.array[:count].copy() for tensor in outputs]

    def close(self) -> None:
        """Free everything; nothing may run."""
        for lane in self._lanes.values():
            if lane.graph is not None:
                self._cuda.release("cudaGraphExecDestroy", lane.graph)
        self._lanes.clear()
        for tensor in self._tensors:
            self._cuda.release("cudaFree", tensor.device)
            tensor.host.free()
        self._tensors.clear()
        if self._stream is not None:
            self._cuda.release("cudaStreamDestroy", self._stream)
            self._stream = None

    def _add(self, name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> None:
        host = PinnedArray(self._cuda, shape, dtype)
        try:
            device = int(self._cuda.call("cudaMalloc", host.size_bytes))
        except EngineError:
            host.free()
            raise
        self._tensors.append(_Tensor(name, host, device))

    def _lane(self, count: int) -> _Lane:
        """Return the lane of a batch size: its own where a graph is recorded, else the common."""
        if count in self._recorded:
            return self._lanes.get(count) or self._record(count)
        if 0 not in self._lanes:
            self._lanes[0] = _Lane(self._new_context())
        return self._lanes[0]

    def _record(self, count: int) -> _Lane:
        lane = _Lane(self._new_context())
        # The first call of a context allocates and loads, which cannot be recorded.
        self._enqueue(lane, count)
        self._cuda.wait(self._stream)
        try:
            lane.graph = self._cuda.capture(self._stream, lambda: self._enqueue(lane, count))
        except EngineError as error:
            self.problem = f"no CUDA graphs: {error}"
            self._recorded = frozenset()
            self._lanes[0] = lane
            return lane
        self._lanes[count] = lane
        return lane

    def _enqueue(self, lane: _Lane, count: int) -> None:
        """Put copying in, computing and copying out on the stream."""
        if lane.batch != count:
            if not lane.context.set_input_shape(INPUT_NAME, (count, *self._spec.shape)):
                raise EngineError(f"TensorRT does not take a batch of {count}")
            lane.batch = count
        inputs, *outputs = self._tensors
        source = inputs.host.pointer
        self._cuda.copy_in(inputs.device, source, inputs.size_bytes(count), self._stream)
        if not lane.context.execute_async_v3(int(self._stream)):
            raise EngineError(f"TensorRT failed on a batch of {count}")
        for tensor in outputs:
            size = tensor.size_bytes(count)
            self._cuda.copy_out(tensor.host.pointer, tensor.device, size, self._stream)

    def _new_context(self) -> Any:
        context = self._engine.create_execution_context(**_own_graphs(self._trt, self._engine))
        if context is None:
            raise EngineError("TensorRT gives no execution context; is the GPU's memory full?")
        for tensor in self._tensors:
            if not context.set_tensor_address(tensor.name, tensor.device):
                raise EngineError(f"TensorRT has no tensor {tensor.name!r}")
        return context


def uses_graphs() -> bool:
    """Whether CUDA graphs may be recorded: unless the environment says HEADLIGHT_CUDA_GRAPHS=off.

    Not an option of readers: nobody wants to be slower but to measure what graphs bring.

    Raises:
        ConfigError: it says something else.
    """
    asked = os.environ.get(GRAPHS_VARIABLE, "on")
    if asked not in ("on", "off"):
        raise ConfigError(f"{GRAPHS_VARIABLE} must be on or off, got {asked!r}")
    return asked == "on"


def _own_graphs(trt: Any, engine: Any) -> Mapping[str, Any]:
    """Let TensorRT-RTX record graphs itself: it swaps kernels for better ones while it runs."""
    if not hasattr(trt, "CudaGraphStrategy") or not uses_graphs():
        return {}
    config = engine.create_runtime_config()
    config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    return {"runtime_config": config}
