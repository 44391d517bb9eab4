"""Bare OpenVINO IR in OpenVINO, on the CPU."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import numpy as np

from runtime.engine_imports import import_openvino, openvino_core
from runtime.errors import EngineError
from runtime.session import SessionOptions

from .graphs import Array, Tensor, fixed_batch, numpy_name

__all__ = ["OpenVinoGraph"]

_ERRORS: Final = (RuntimeError, ValueError, TypeError)


class OpenVinoGraph:
    """See ``Graph``; compiled for one sample, for the usual batch and for any, as artifacts are.

    Args:
        path: The ``.xml`` file, its ``.bin`` beside it.
        options: Threads, hint, usual batch.

    Raises:
        EngineUnavailableError: openvino is not installed.
        EngineError: the file is no graph that it can run.
    """

    def __init__(self, path: Path, options: SessionOptions) -> None:
        openvino = import_openvino()
        self._path, self._openvino = path, openvino
        self._settings = {
            "PERFORMANCE_HINT": options.hint.upper(),
            "INFERENCE_NUM_THREADS": options.threads,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        try:
            self._model: Any = openvino_core().read_model(path)
            self.inputs = _tensors(self._model.inputs)
            self.outputs = _tensors(self._model.outputs)
            self.batches = fixed_batch(self.inputs[0].shape) if self.inputs else None
            self._lock = threading.Lock()
            self._requests: dict[int, SimpleQueue[_Request]] | None = {}
            self._own_size = {1, options.batch}
        except _ERRORS as error:
            raise EngineError(f"openvino cannot load {path}: {error}") from error
        self.facts: Mapping[str, str] = {
            "engine": "openvino",
            "version": str(openvino.__version__).split("-")[0],
            "device": "cpu",
            "threads": str(options.threads),
        }

    def run(self, feed: Array) -> Sequence[Array]:
        """See ``Graph``."""
        try:
            free = self._pool(len(feed) if len(feed) in self._own_size else 0)
            request = free.get()
            try:
                return request.infer(feed)
            finally:
                free.put(request)
        except _ERRORS as error:
            raise EngineError(f"openvino failed on {self._path}: {error}") from error

    def _pool(self, batch: int) -> SimpleQueue[_Request]:
        """Return the requests for a batch size; 0 takes any."""
        with self._lock:
            if self._requests is None:
                raise EngineError(f"{self._path} was closed")
            if batch not in self._requests:
                self._requests[batch] = self._compile(batch)
            return self._requests[batch]

    def _compile(self, batch: int) -> SimpleQueue[_Request]:
        model = self._model.clone()
        if batch and self.batches is None:
            shape = self.inputs[0].shape
            model.reshape([batch, *[-1 if size is None else size for size in shape[1:]]])
        compiled = openvino_core().compile_model(model, "CPU", self._settings)
        free: SimpleQueue[_Request] = SimpleQueue()
        for _ in range(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")):
            free.put(_Request(self._openvino, compiled, len(self.outputs)))
        return free

    def close(self) -> None:
        """See ``Graph``."""
        with self._lock:
            self._requests = self._model = None


class _Request:
    """An inference request whose buffers stay bound, as those of artifacts do; one thread."""

    def __init__(self, openvino: Any, compiled: Any, outputs: int) -> None:
        self._openvino, self._outputs = openvino, outputs
        self._request = compiled.create_infer_request()
        self._feed = np.empty(0)
        self._views: Sequence[Array] = ()

    def infer(self, feed: Array) -> Sequence[Array]:
        if feed.shape != self._feed.shape:
            self._feed, self._views = np.array(feed), ()
            self._request.set_input_tensor(self._openvino.Tensor(self._feed, shared_memory=True))
        else:
            np.copyto(self._feed, feed)
        # ``infer`` does the same and then copies every output into a dictionary.
        self._request.start_async()
        self._request.wait()
        if not self._views:  # they stay where they are as long as the input keeps its shape
            places = range(self._outputs)
            self._views = [self._request.get_output_tensor(place).data for place in places]
        return [view.copy() for view in self._views]


def _tensors(values: Sequence[Any]) -> Sequence[Tensor]:
    return [
        Tensor(
            min(value.get_names(), default=str(place)),
            numpy_name(value.get_element_type().get_type_name()),
            ()
            if value.get_partial_shape().rank.is_dynamic
            else tuple(
                None if size.is_dynamic else size.get_length() for size in value.get_partial_shape()
            ),
        )
        for place, value in enumerate(values)
    ]
