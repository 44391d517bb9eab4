"""The processor's limits, measured: rates of arithmetic by precision, of bytes by memory level.

Arithmetic is measured through OpenVINO, whose kernels are what the engines could use as well: large
convolutions and matrix products, the fastest of which counts. That the asked precision really ran
is read from the compiled graph. numpy's matrix product (OpenBLAS or MKL) checks FP32.

Bytes are measured with STREAM's Add (McCalpin 1995), ``a = b + c`` in float32, which reads two
arrays and writes one, all three together half as large as a level of the cache, or four times as
large as all of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any, Final

import numpy as np

from benchmarks.device.readings import folders, text
from benchmarks.noise import Noise, NoiseWatch
from benchmarks.rates import calls_until
from runtime.engine_imports import import_openvino, openvino_core
from runtime.errors import EngineError

from .layers import products_along

__all__ = ["Bandwidth", "Ceilings", "Peak", "measure_ceilings"]

_HINTS: Final[Mapping[str, str]] = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "f32"}
"""Precision to the type that OpenVINO may compute floats in."""
_KERNELS: Final[Mapping[str, str]] = {"f32": "fp32", "f16": "fp16", "i8": "int8", "u8": "int8"}
"""Ends of kernels' names to the precision; others are called alike."""
_DEPTH: Final = 4
"""Layers one after the other, so that entering and leaving a precision is a small part."""
_SIZE: Final = 1024
"""Of the matrices: too large for the inner caches, small enough to be quick."""
_SHAPES: Final = ((256, 28), (128, 56), (512, 14))
"""Channels and side of the convolutions, 3 x 3: the middle layers of a ResNet."""
_SMALLEST_CACHE_BYTES: Final = 128 * 1024
"""Of a smaller cache numpy's own call would take longer than the arrays."""
_UNKNOWN_CACHE_BYTES: Final = 32 * 1024 * 1024
_LEAST_BYTES: Final = 64 * 1024 * 1024
"""Of arrays that no cache shall hold."""


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest rate of one precision."""

    precision: str
    """What was asked for."""
    used: str
    """What the compiled graph computes in."""
    macs_per_s: float
    graph: str
    """Of which graph."""


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """The rate of one level of memory."""

    level: str
    """``L2``, ``L3``, ``memory``."""
    holds_bytes: float
    """Largest working set that it holds; infinite for the memory."""
    bytes_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """All limits of one processor with some threads."""

    threads: int
    peaks: Mapping[str, Peak]
    """By precision; those that the processor has kernels for."""
    bandwidths: Sequence[Bandwidth]
    """From the smallest level to the memory."""
    numpy_macs_per_s: float
    """FP32, with as many threads as numpy takes by itself."""
    noise: Noise

    def macs_per_s(self, precision: str) -> float:
        """Return the peak of a precision; of FP32 where the processor has no kernels for it."""
        return (self.peaks.get(precision) or self.peaks["fp32"]).macs_per_s

    def bandwidth(self, working_set_bytes: float) -> Bandwidth:
        """Return the level that a working set fits into."""
        return next(each for each in self.bandwidths if working_set_bytes <= each.holds_bytes)

    def to_object(self) -> Mapping[str, Any]:
        """Return everything for a report."""
        return {
            "threads": self.threads,
            "peaks": {
                name: {"macs_per_s": peak.macs_per_s, "used": peak.used, "graph": peak.graph}
                for name, peak in self.peaks.items()
            },
            "numpy_fp32_macs_per_s": self.numpy_macs_per_s,
            "bandwidths": {each.level: each.bytes_per_s for each in self.bandwidths},
            **self.noise.to_object(),
        }


def measure_ceilings(*, threads: int, seconds: float, root: Path = Path("/")) -> Ceilings:
    """Measure all limits.

    Args:
        threads: Threads of OpenVINO and of the memory's measurement.
        seconds: Time for each graph and each level.
        root: Where ``sys`` is, which tells the caches.

    Raises:
        EngineUnavailableError: OpenVINO is not installed.
        EngineError: OpenVINO cannot run FP32.
    """
    watch = NoiseWatch()
    found = {name: _peak(name, threads, seconds) for name in _HINTS}
    # A processor without kernels for a precision computes in another one, which is no peak of it.
    peaks = {name: peak for name, peak in found.items() if peak.used == name}
    if "fp32" not in peaks:
        raise EngineError(
            f"openvino computed FP32 in {found['fp32'].used}; nothing to compare with"
        )
    return Ceilings(
        threads=threads,
        peaks=peaks,
        bandwidths=_bandwidths(threads, seconds, root),
        numpy_macs_per_s=_numpy_macs_per_s(seconds),
        noise=watch.read(),
    )


def _peak(precision: str, threads: int, seconds: float) -> Peak:
    graphs: Mapping[str, Callable[[], tuple[Any, int]]] = {
        **{
            f"{_DEPTH} convolutions {channels}x{side}x{side}": partial(
                _convolutions, channels, side, int8=precision == "int8"
            )
            for channels, side in _SHAPES
        },
        f"{_DEPTH} matrix products {_SIZE}": partial(_products, _SIZE, int8=precision == "int8"),
    }
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
    }
    best = Peak(precision, "nothing", 0.0, "")
    for name, make in graphs.items():
        model, macs = make()
        try:
            compiled = openvino_core().compile_model(model, "CPU", settings)
            request = compiled.create_infer_request()
            request.infer([np.ones(model.inputs[0].get_shape(), np.float32)])
        except RuntimeError:  # no kernel for it here
            continue
        rate = macs / _fastest_s(request.infer, seconds)
        used = _used(compiled)
        if (used == precision, rate) > (best.used == precision, best.macs_per_s):
            best = Peak(precision, used, rate, name)
    return best


def _used(compiled: Any) -> str:
    """Return what the layers compute in: kernels' names end with it."""
    kinds = set()
    for node in compiled.get_runtime_model().get_ordered_ops():
        facts = node.get_rt_info()
        if "layerType" in facts and facts["layerType"].astype(str) in _LAYERS:
            kinds.add(facts["primitiveType"].astype(str).rpartition("_")[2].lower())
    return " and ".join(sorted({_KERNELS.get(kind, kind) for kind in kinds}))


_LAYERS: Final = frozenset({"Convolution", "FullyConnected", "MatMul"})


def _convolutions(channels: int, side: int, *, int8: bool) -> tuple[Any, int]:
    ops = _ops()
    start = value = ops.parameter([1, channels, side, side], np.float32)
    for _ in range(_DEPTH):
        weights = _weights((channels, channels, 3, 3), int8=int8)
        value = ops.convolution(
            _quantised(value) if int8 else value, weights, [1, 1], [1, 1], [1, 1], [1, 1]
        )
        value = ops.relu(value)
    macs = _DEPTH * channels * channels * products_along(side, side, 3, pad=1) ** 2
    return _model(value, start), macs


def _products(size: int, *, int8: bool) -> tuple[Any, int]:
    ops = _ops()
    start = value = ops.parameter([size, size], np.float32)
    for _ in range(_DEPTH):
        weights = _weights((size, size), int8=int8)
        value = ops.matmul(_quantised(value) if int8 else value, weights, False, False)
        value = ops.relu(value)
    return _model(value, start), _DEPTH * size**3


def _ops() -> Any:
    import_openvino()  # so that its telemetry is off
    from openvino import opset13

    return opset13


def _model(value: Any, start: Any) -> Any:
    return import_openvino().Model([value], [start], "ceiling")


def _weights(shape: Sequence[int], *, int8: bool) -> Any:
    ops, random = _ops(), np.random.default_rng(0)
    fan_in = int(np.prod(shape[1:]))
    if not int8:
        return ops.constant(random.normal(0, fan_in**-0.5, shape).astype(np.float32))
    whole = ops.constant(random.integers(-127, 128, shape).astype(np.int8))
    scale = np.float32(1 / (127 * fan_in**0.5))
    return ops.multiply(ops.convert(whole, "f32"), ops.constant(scale))


def _quantised(value: Any) -> Any:
    low, high = np.float32(0), np.float32(2.55)
    return _ops().fake_quantize(value, low, high, low, high, 256)


def _fastest_s(work: Callable[[], object], seconds: float) -> float:
    """Return the least time of a call: others only make it longer."""
    work()
    best = float("inf")
    for _ in calls_until(time.perf_counter() + seconds):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best


def _numpy_macs_per_s(seconds: float) -> float:
    matrix = np.random.default_rng(0).normal(size=(_SIZE, _SIZE)).astype(np.float32)
    out = np.empty_like(matrix)
    return float(_SIZE**3 / _fastest_s(lambda: np.matmul(matrix, matrix, out=out), seconds))


def _bandwidths(threads: int, seconds: float, root: Path) -> Sequence[Bandwidth]:
    caches = _caches(root)
    found = [
        Bandwidth(level, size, _add_bytes_per_s(size / 2, threads, seconds))
        for level, size in caches.items()
        if size >= _SMALLEST_CACHE_BYTES
    ]
    largest = max(caches.values(), default=_UNKNOWN_CACHE_BYTES)
    whole = max(4 * largest, _LEAST_BYTES)
    memory = Bandwidth("memory", float("inf"), _add_bytes_per_s(whole, threads, seconds))
    return [*found, memory]


def _caches(root: Path) -> Mapping[str, int]:
    """Return the first core's caches of data, from the smallest on, with their sizes in bytes."""
    units = {"K": 1024, "M": 1024**2}
    sizes: dict[str, int] = {}
    for cache in folders(root / "sys/devices/system/cpu/cpu0/cache", "index*"):
        size, kind = text(cache / "size") or "", text(cache / "type")
        if kind != "Instruction" and size[:-1].isdigit() and size[-1] in units:
            sizes[f"L{text(cache / 'level')}"] = int(size[:-1]) * units[size[-1]]
    return dict(sorted(sizes.items(), key=lambda item: item[1]))


def _add_bytes_per_s(total_bytes: float, threads: int, seconds: float) -> float:
    """Return the rate of STREAM's Add with arrays of ``total_bytes`` together, by all threads."""
    count = max(1024, int(total_bytes / threads / 3 / 4))
    ready = Barrier(threads)

    def run() -> float:
        first, second, out = (np.ones(count, np.float32) for _ in range(3))
        ready.wait()
        return _fastest_s(lambda: np.add(first, second, out=out), seconds)

    with ThreadPoolExecutor(threads) as pool:
        times = [pool.submit(run) for _ in range(threads)]
        return float(sum(3 * 4 * count / each.result() for each in times))
