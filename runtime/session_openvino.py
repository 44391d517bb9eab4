"""Running OpenVINO and ONNX graphs with OpenVINO on the CPU."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import numpy as np

from .arrays import Images, Logits
from .engine_imports import import_openvino, openvino_core
from .errors import EngineError
from .graph_contract import Port, Scores, check_graph, check_images, run_fixed
from .preprocess import InputSpec
from .schema import Schema
from .session import SessionOptions

__all__ = ["OpenVinoSession"]

_ERRORS: Final = (RuntimeError, ValueError, TypeError)
"""What OpenVINO's Python bindings raise."""
_DTYPES: Final[Mapping[str, str]] = {"u8": "uint8", "f32": "float32"}
_HINTS: Final[Mapping[str, str]] = {"latency": "LATENCY", "throughput": "THROUGHPUT"}


class OpenVinoSession:
    """A graph compiled for one image and, when they first come, for ``options.batch`` and for any.

    A fixed batch saves 60 to 90 us a call, which for one image is up to half of it (measured: 54
    against 136 us on a tiny network, 235 against 425 us on a slimmed one). Requests are pooled:
    one request shared by two threads returns wrong results without an error.

    Args:
        path: The ``.xml`` (its ``.bin`` beside it) or ``.onnx`` file.
        schema: Heads that the outputs must be.
        spec: Size that the input must have.
        options: Threads, usual batch, and whether to favour latency or throughput.
        precision: The artifact's precision; everything but ``bf16`` computes floats in float32.

    Raises:
        EngineUnavailableError: openvino is not installed.
        EngineError: the file is no graph, or not one for this schema and input.
    """

    def __init__(
        self, path: Path, schema: Schema, spec: InputSpec, options: SessionOptions, precision: str
    ) -> None:
        self._openvino = import_openvino()
        self._path = path
        self._spec = spec
        self._names = tuple(head.name for head in schema.heads)
        self._sizes = tuple(head.size for head in schema.heads)
        self._settings = {
            "PERFORMANCE_HINT": _HINTS[options.hint],
            "INFERENCE_NUM_THREADS": options.threads,
            # By default a CPU with AMX or AVX512-BF16 rounds a float32 graph to bfloat16.
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        }
        try:
            self._model = openvino_core().read_model(path)
            inputs, outputs = _ports(self._model.inputs), _ports(self._model.outputs)
            self._batch = check_graph(path, inputs, outputs, schema, spec)
            single = self._compile(self._batch or 1)
            self._description = _describe(self._openvino, single.compiled)
        except _ERRORS as error:
            raise EngineError(f"openvino cannot load {path}: {error}") from error
        self._prepared = {1, options.batch} if self._batch is None else {self._batch}
        # By batch size; None takes any. Replaced as a whole, and None once closed.
        self._lanes: Mapping[int | None, _Lane] | None = {self._batch or 1: single}
        self._lock = threading.Lock()

    def run(self, images: Images) -> Logits:
        """Score (N, height, width, 3) uint8 images; see ``Session.run``."""
        check_images(images, self._spec)
        try:
            if self._batch is None:
                scores = self._infer(images)
            else:
                scores = run_fixed(self._infer, images, self._batch)
        except _ERRORS as error:
            raise EngineError(f"openvino failed on {self._path}: {error}") from error
        return dict(zip(self._names, scores, strict=True))

    def _infer(self, images: Images) -> Scores:
        batch = len(images) if len(images) in self._prepared else None
        lanes = self._lanes  # one read: close() may run in another thread
        lane = None if lanes is None else lanes.get(batch)
        return (lane or self._new_lane(batch)).infer(images)

    def _new_lane(self, batch: int | None) -> _Lane:
        with self._lock:
            if self._lanes is None:
                raise EngineError(
                    f"the session of {self._path} was closed; open the artifact again"
                )
            if batch not in self._lanes:  # another thread may have been first
                self._lanes = {**self._lanes, batch: self._compile(batch)}
            return self._lanes[batch]

    def _compile(self, batch: int | None) -> _Lane:
        model = self._model.clone()
        model.reshape([-1 if batch is None else batch, *self._spec.shape])
        compiled = openvino_core().compile_model(model, "CPU", self._settings)
        return _Lane(self._openvino, compiled, self._spec, self._sizes)

    def close(self) -> None:
        """Free the graph once the calls that are running have ended."""
        with self._lock:
            self._lanes = self._model = None

    @property
    def description(self) -> Mapping[str, str]:
        """Engine, version, and the device, precision, threads and streams that it chose."""
        return self._description


class _Lane:
    """A compiled graph and as many requests as it can run at a time."""

    def __init__(self, openvino: Any, compiled: Any, spec: InputSpec, sizes: Sequence[int]) -> None:
        self.compiled = compiled
        self._free: SimpleQueue[_Request] = SimpleQueue()
        for _ in range(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")):
            self._free.put(_Request(openvino, compiled, spec, sizes))

    def infer(self, images: Images) -> Scores:
        request = self._free.get()
        try:
            return request.infer(images)
        finally:
            self._free.put(request)


class _Request:
    """An inference request bound to buffers of its own; one thread at a time.

    Binding once, instead of handing over arrays at every call, saves 15 us of 76.
    """

    def __init__(self, openvino: Any, compiled: Any, spec: InputSpec, sizes: Sequence[int]) -> None:
        self._openvino = openvino
        self._request = compiled.create_infer_request()
        self._sizes = sizes
        self._images: Images = np.empty((0, *spec.shape), np.uint8)
        self._scores: Scores = []

    def infer(self, images: Images) -> Scores:
        if len(images) != len(self._images):
            self._bind(images.shape)
        np.copyto(self._images, images)
        self._request.infer()
        return [scores.copy() for scores in self._scores]

    def _bind(self, shape: tuple[int, ...]) -> None:
        tensor = self._openvino.Tensor
        self._images = self._images[:0]  # if Ctrl-C comes in between, the next call binds again
        images = np.empty(shape, np.uint8)
        self._scores = [np.empty((shape[0], size), np.float32) for size in self._sizes]
        self._request.set_input_tensor(tensor(images, shared_memory=True))
        for index, scores in enumerate(self._scores):
            self._request.set_output_tensor(index, tensor(scores, shared_memory=True))
        self._images = images


def _ports(values: Sequence[Any]) -> list[Port]:
    return [
        Port(
            # A tensor may carry several names; ours has one, and any other is then no match.
            " = ".join(sorted(value.get_names())),
            _DTYPES.get(value.get_element_type().get_type_name(), str(value.get_element_type())),
            _shape(value.get_partial_shape()),
        )
        for value in values
    ]


def _shape(value: Any) -> tuple[int | None, ...]:
    if value.rank.is_dynamic:
        return ()
    return tuple(None if size.is_dynamic else size.get_length() for size in value)


def _describe(openvino: Any, compiled: Any) -> Mapping[str, str]:
    return {
        "engine": "openvino",
        "version": str(openvino.__version__).split("-")[0],
        "device": ", ".join(compiled.get_property("EXECUTION_DEVICES")).lower(),
        "precision": compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name(),
        "threads": str(compiled.get_property("INFERENCE_NUM_THREADS")),
        "streams": str(compiled.get_property("NUM_STREAMS")),
    }
