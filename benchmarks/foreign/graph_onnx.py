"""Bare ONNX graphs in ONNX Runtime, on the CPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from runtime.engine_imports import import_onnxruntime
from runtime.errors import EngineError
from runtime.session import SessionOptions

from .graphs import Array, Tensor, fixed_batch, numpy_name

__all__ = ["OnnxGraph"]

_FATAL_ONLY: Final = 4


class OnnxGraph:
    """See ``Graph``.

    Args:
        path: The ``.onnx`` file.
        options: Threads.

    Raises:
        EngineUnavailableError: onnxruntime is not installed.
        EngineError: the file is no graph that it can run.
    """

    def __init__(self, path: Path, options: SessionOptions) -> None:
        onnxruntime = import_onnxruntime()
        self._path = path
        # Its C++ errors share no base but this one.
        self._errors: type[Exception] = Exception
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = options.threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = _FATAL_ONLY
        # As the artifacts' session has it, so that both are timed alike.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), settings, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except self._errors as error:
            raise EngineError(f"onnxruntime cannot load {path}: {error}") from error
        self._free: deque[_Lane] = deque()
        self.inputs = _tensors(self._session.get_inputs())
        self.outputs = _tensors(self._session.get_outputs())
        self.batches = fixed_batch(self.inputs[0].shape) if self.inputs else None
        self.facts: Mapping[str, str] = {
            "engine": "onnxruntime",
            "version": str(onnxruntime.__version__),
            "device": "cpu",
            "threads": str(options.threads),
        }

    def run(self, feed: Array) -> Sequence[Array]:
        """See ``Graph``."""
        session = self._session  # one read: close() may run in another thread
        if session is None:
            raise EngineError(f"{self._path} was closed")
        try:
            if len(feed) == 1:
                return self._run_one(session, feed)
            found: Sequence[Array] = session.run(None, {self.inputs[0].name: feed})
        except self._errors as error:
            raise EngineError(f"onnxruntime failed on {self._path}: {error}") from error
        return found

    def _run_one(self, session: Any, feed: Array) -> Sequence[Array]:
        """Run one sample through buffers that are bound once, as artifacts' sessions do."""
        try:
            lane = self._free.pop()
        except IndexError:
            lane = _Lane(session, self.inputs[0], feed)
        try:
            return lane.run(feed)
        finally:
            self._free.append(lane)

    def close(self) -> None:
        """See ``Graph``."""
        self._session = None
        self._free.clear()


class _Lane:
    """A session bound to buffers for one sample; one thread at a time."""

    def __init__(self, session: Any, source: Tensor, feed: Array) -> None:
        # Shapes that the file leaves open are known once it ran.
        self._found = [np.array(each) for each in session.run(None, {source.name: feed})]
        self._feed = np.array(feed)
        self._session, self._binding = session, session.io_binding()
        bind = self._binding.bind_input
        bind(source.name, "cpu", 0, feed.dtype, feed.shape, self._feed.ctypes.data)
        for output, buffer in zip(session.get_outputs(), self._found, strict=True):
            bind = self._binding.bind_output
            bind(output.name, "cpu", 0, buffer.dtype, buffer.shape, buffer.ctypes.data)

    def run(self, feed: Array) -> Sequence[Array]:
        np.copyto(self._feed, feed)
        self._session.run_with_iobinding(self._binding)
        return [each.copy() for each in self._found]


def _tensors(values: Sequence[Any]) -> Sequence[Tensor]:
    return [
        Tensor(
            value.name,
            numpy_name(value.type),
            tuple(size if isinstance(size, int) else None for size in value.shape),
        )
        for value in values
    ]
