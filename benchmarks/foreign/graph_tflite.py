"""Bare TFLite graphs in ai-edge-litert, on the CPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from runtime.engine_imports import import_litert
from runtime.errors import EngineError
from runtime.session import SessionOptions

from .graphs import Array, Tensor, fixed_batch

__all__ = ["TfliteGraph"]

_ERRORS: Final = (RuntimeError, ValueError, TypeError)


class TfliteGraph:
    """See ``Graph``; an interpreter for every thread that asks at a time.

    Args:
        path: The ``.tflite`` file.
        options: Threads.

    Raises:
        EngineUnavailableError: ai-edge-litert is not installed.
        EngineError: the file is no graph that it can run.
    """

    def __init__(self, path: Path, options: SessionOptions) -> None:
        self._litert, self._path, self._threads = import_litert(), path, options.threads
        self._content: bytes | None = path.read_bytes()
        first = self._interpreter()
        names, sources, results = (
            _signed(first),
            first.get_input_details(),
            first.get_output_details(),
        )
        # The same in every interpreter of this content.
        self._places = [details["index"] for details in (*sources[:1], *results)]
        self.inputs = [_tensor(details, names) for details in sources]
        self.outputs = [_tensor(details, names) for details in results]
        self.batches = fixed_batch(self.inputs[0].shape) if self.inputs else None
        self._free: deque[Any] = deque([first])
        self.facts: Mapping[str, str] = {
            "engine": "tflite",
            "version": version("ai-edge-litert"),
            "device": "cpu",
            "threads": str(options.threads),
        }

    def _interpreter(self) -> Any:
        if self._content is None:
            raise EngineError(f"{self._path} was closed")
        try:
            made = self._litert.Interpreter(model_content=self._content, num_threads=self._threads)
            made.allocate_tensors()
        except _ERRORS as error:
            raise EngineError(f"ai-edge-litert cannot load {self._path}: {error}") from error
        return made

    def run(self, feed: Array) -> Sequence[Array]:
        """See ``Graph``; outputs of integers come as what they mean, float32."""
        try:
            lane = self._free.pop()
        except IndexError:
            lane = self._interpreter()
        try:
            lane.set_tensor(self._places[0], feed)
            lane.invoke()
            found = [lane.get_tensor(place) for place in self._places[1:]]
        except _ERRORS as error:
            raise EngineError(f"ai-edge-litert failed on {self._path}: {error}") from error
        finally:
            self._free.append(lane)
        return [_meant(array, out) for array, out in zip(found, self.outputs, strict=True)]

    def close(self) -> None:
        """See ``Graph``."""
        self._content = None
        self._free.clear()


def _signed(interpreter: Any) -> Mapping[int, str]:
    """Return tensors by their names in the one signature, which tell more than those in the graph.

    Those are what the converter made of them, such as ``StatefulPartitionedCall:3``.
    """
    signatures = interpreter.get_signature_list()
    if len(signatures) != 1:
        return {}
    runner = interpreter.get_signature_runner(next(iter(signatures)))
    named = {**runner.get_input_details(), **runner.get_output_details()}
    return {details["index"]: name for name, details in named.items()}


def _tensor(details: Mapping[str, Any], names: Mapping[int, str]) -> Tensor:
    scale, zero = details["quantization"]
    return Tensor(
        names.get(details["index"], details["name"]),
        np.dtype(details["dtype"]).name,
        tuple(int(size) for size in details["shape"]),
        (float(scale), int(zero)) if scale else None,
    )


def _meant(array: Array, tensor: Tensor) -> Array:
    if tensor.grid is None:
        return array
    scale, zero = tensor.grid
    return (array.astype(np.float32) - np.float32(zero)) * np.float32(scale)
