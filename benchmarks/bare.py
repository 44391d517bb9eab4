"""What somebody writes who calls an engine through its own API, to compare the reader with.

Crops are resized and scored, and that is all: no check, no decoding, no statistics. The engine is
set up as the reader's own sessions set it up, so that both do the same work.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import cv2
import numpy as np

from runtime.arrays import Image, Images
from runtime.engine_imports import import_litert, import_onnxruntime, openvino_core
from runtime.errors import ConfigError
from runtime.manifest import Manifest
from runtime.preprocess import InputSpec, fit
from runtime.schema import INPUT_NAME

from .rates import Worker, calls_until

__all__ = [
    "BARE_ENGINES",
    "Engine",
    "bare_engine",
    "bare_loop",
    "bare_pool",
    "bare_resize",
    "engine_alone",
]

Engine: TypeAlias = Callable[[Images], object]
"""Scores (N, height, width, 3) uint8 images; one thread at a time."""


def bare_engine(
    folder: Path, manifest: Manifest, *, batch: int, threads: int
) -> Callable[[], Engine]:
    """Load an artifact's engine file without Headlight.

    Args:
        folder: The artifact.
        manifest: Its manifest.
        batch: Images per call.
        threads: Python threads that will call at a time; each may take one core.

    Returns:
        What makes a thread's engine; all share one graph where the engine allows that.

    Raises:
        ConfigError: there is no bare loop for this engine.
    """
    if manifest.engine not in BARE_ENGINES:
        raise ConfigError(
            f"{folder} is for the engine {manifest.engine!r}; a bare loop is known for "
            f"{sorted(BARE_ENGINES)}"
        )
    shape = (batch, *manifest.input.shape)
    return BARE_ENGINES[manifest.engine](folder / manifest.engine_file, shape, threads)


def _onnx(path: Path, _shape: Sequence[int], _threads: int) -> Callable[[], Engine]:
    onnxruntime = import_onnxruntime()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    return lambda: lambda images: session.run(None, {INPUT_NAME: images})


def _openvino(path: Path, shape: Sequence[int], threads: int) -> Callable[[], Engine]:
    core = openvino_core()
    model = core.read_model(path)
    model.reshape(list(shape))
    settings = {
        "PERFORMANCE_HINT": "THROUGHPUT" if threads > 1 else "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = core.compile_model(model, "CPU", settings)

    def engine() -> Engine:
        request = compiled.create_infer_request()
        return lambda images: request.infer([images])

    return engine


def _tflite(path: Path, shape: Sequence[int], _threads: int) -> Callable[[], Engine]:
    litert = import_litert()

    def engine() -> Engine:
        interpreter = litert.Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
        (source,) = interpreter.get_input_details()
        outputs = [each["index"] for each in interpreter.get_output_details()]
        count = int(source["shape"][0])
        signed = source["dtype"] is np.int8

        def call(images: Images) -> object:
            scores = []
            for start in range(0, shape[0], count):
                part: Any = images[start : start + count]
                if signed:
                    part = (part ^ np.uint8(128)).view(np.int8)
                interpreter.set_tensor(source["index"], part)
                interpreter.invoke()
                scores.append([interpreter.get_tensor(index) for index in outputs])
            return scores

        return call

    return engine


BARE_ENGINES: Final[Mapping[str, Callable[[Path, Sequence[int], int], Callable[[], Engine]]]] = {
    "onnx": _onnx,
    "openvino": _openvino,
    "tflite": _tflite,
}


def bare_resize(crop: Image, spec: InputSpec) -> Callable[[], Image]:
    """Return what brings a crop to the network's size as ``fit`` does, without its checks."""
    if spec.resize != "stretch":
        return partial(fit, crop, spec)
    shrinks = crop.shape[0] > spec.height and crop.shape[1] > spec.width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    size = (spec.width, spec.height)
    return partial(cv2.resize, crop, size, interpolation=method)  # type: ignore[return-value]


def engine_alone(engine: Engine, fitted: Images) -> Worker:
    """Return a loop that scores image after image.

    Args:
        engine: Of this thread, for one image a call.
        fitted: (N, height, width, 3) uint8 at the network's size.
    """

    def work(until_s: float) -> int:
        count = 0
        for _ in calls_until(until_s):
            place = count % len(fitted)
            engine(fitted[place : place + 1])
            count += 1
        return count

    return work


def bare_loop(engine: Engine, resizes: Sequence[Callable[[], Image]], batch: int) -> Worker:
    """Return a loop that resizes and scores ``batch`` crops at a time.

    Args:
        engine: Of this thread, for ``batch`` images a call.
        resizes: What ``bare_resize`` returns for each crop.
        batch: Images per call.
    """

    def work(until_s: float) -> int:
        count = 0
        for _ in calls_until(until_s):
            if batch == 1:
                images = resizes[count % len(resizes)]()[None]
            else:
                images = np.stack(
                    [resizes[(count + place) % len(resizes)]() for place in range(batch)]
                )
            engine(images)
            count += batch
        return count

    return work


def bare_pool(
    pool: ThreadPoolExecutor,
    make: Callable[[], Engine],
    resizes: Sequence[Callable[[], Image]],
    ahead: int,
) -> Worker:
    """Return a loop that hands crop after crop to a pool of threads.

    Args:
        pool: Each of its threads gets an engine of its own.
        make: Makes it, for one image a call.
        resizes: What ``bare_resize`` returns for each crop.
        ahead: Crops that are handed over and not yet answered.
    """
    own = threading.local()

    def read(place: int) -> object:
        if not hasattr(own, "engine"):
            own.engine = make()
        return own.engine(resizes[place]()[None])

    def work(until_s: float) -> int:
        waiting: deque[Future[object]] = deque()
        count = 0
        for _ in calls_until(until_s):
            waiting.append(pool.submit(read, count % len(resizes)))
            count += 1
            if len(waiting) == ahead:
                waiting.popleft().result()
        for future in waiting:
            future.result()
        return count

    return work
