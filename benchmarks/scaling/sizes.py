"""Throughput at other input sizes: the same graph, its input made smaller or larger by OpenVINO.

What the network answers there is not looked at: it was not trained for it. A graph that fixes a
size somewhere inside cannot be changed, and says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.foreign import find_description
from benchmarks.noise import quietest
from benchmarks.scenarios import Throughput, offline
from benchmarks.scoring import load_manifest
from runtime.engine_imports import openvino_core
from runtime.errors import EngineUnavailableError
from runtime.manifest import Manifest
from runtime.session_openvino import precision_hint

from .points import Point

__all__ = ["measure_sizes"]

_READABLE: Final = frozenset({".xml", ".onnx"})
_BARE: Final = "a bare model is measured at its own size"
_FIXED: Final = (
    "the graph fixes its size inside; `python -m train.backbones --imgsz H W` times new networks"
)


def measure_sizes(
    name: str,
    folder: Path,
    factors: Sequence[float],
    *,
    threads: int,
    duration_s: float,
    tries: int,
) -> Iterator[Point]:
    """Measure a graph at multiples of its own height and width, one sample a call.

    Args:
        name: Of the artifact.
        folder: The artifact.
        factors: By which height and width are multiplied.
        threads: Of OpenVINO.
        duration_s: Least time of each measurement.
        tries: Measure again, at most this often, while others keep the machine busy.
    """
    manifest = load_manifest(folder)
    path = folder / manifest.engine_file
    for factor in factors:
        spec = manifest.input
        size = (max(1, round(spec.height * factor)), max(1, round(spec.width * factor)))
        point = partial(
            Point, artifact=name, axis="size", value=factor, more={"px": f"{size[0]}x{size[1]}"}
        )
        bare = find_description(folder) is not None
        request = _BARE if bare else _request(path, manifest, size, threads)
        if isinstance(request, str):
            yield point(reason=request)
            continue
        run = partial(offline, request.infer, batch=1, min_duration_s=duration_s)
        rate: Throughput = quietest(run, tries=tries)
        yield point(
            samples_per_s=rate.samples_per_s,
            call_ms=float(np.median(rate.queries_ns)) / 1e6,
            noise=rate.noise,
        )


def _request(path: Path, manifest: Manifest, size: tuple[int, int], threads: int) -> Any | str:
    """Return a request with an input of noise, or why there is none."""
    if path.suffix not in _READABLE:
        return f"only graphs that OpenVINO reads can be changed, not {path.suffix or path.name}"
    try:
        core = openvino_core()
    except EngineUnavailableError as error:
        return str(error)
    shape = (1, *size, 3)
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision_hint(manifest.precision),
    }
    try:
        model = core.read_model(path)
        model.reshape(list(shape))
        # A fixed number of positions would make several samples of a larger picture.
        if any(output.get_partial_shape()[0] != 1 for output in model.outputs):
            return _FIXED
        request = core.compile_model(model, "CPU", settings).create_infer_request()
        request.infer([np.random.default_rng(0).integers(0, 256, shape, np.uint8)])
    except RuntimeError:
        return _FIXED
    return request
