"""Measuring one artifact along one axis."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.noise import Noise, NoiseWatch, quietest
from benchmarks.rates import calls_until
from benchmarks.scenarios import CameraRun, Throughput, Turns, camera, offline, warm_up
from benchmarks.scenarios.turns import check_answer
from benchmarks.scenarios.warming import time_once
from benchmarks.scoring import load_manifest
from benchmarks.speed import Subject, open_subject

from .points import Point
from .sizes import measure_sizes

__all__ = ["AXES", "Along"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Along:
    """How to measure one artifact."""

    name: str
    folder: Path
    threads: int
    duration_s: float
    tries: int
    fps: float
    """Of each camera."""
    workers: int
    """Threads that serve the cameras."""


def _batches(along: Along, values: Sequence[float]) -> Iterator[Point]:
    most = int(max(values))
    with open_subject(along.folder, threads=along.threads, max_batch=most) as subject:
        for value in values:
            yield _closed(along, "batch", value, subject, batch=int(value))


def _threads(along: Along, values: Sequence[float]) -> Iterator[Point]:
    for value in values:
        with open_subject(along.folder, threads=int(value), max_batch=1) as subject:
            yield _closed(along, "threads", value, subject, batch=1)


def _closed(along: Along, axis: str, value: float, subject: Subject, *, batch: int) -> Point:
    turns = Turns(subject.engine(batch))
    run = partial(offline, turns, batch=batch, min_duration_s=along.duration_s)
    rate: Throughput = quietest(run, tries=along.tries)
    return Point(
        artifact=along.name,
        axis=axis,
        value=value,
        samples_per_s=rate.samples_per_s,
        call_ms=float(np.median(rate.queries_ns)) / 1e6,
        noise=rate.noise,
    )


@dataclass(frozen=True, slots=True)
class _Together:
    """What callers in parallel reached."""

    samples_per_s: float
    queries_ns: npt.NDArray[np.int64]
    noise: Noise


def _streams(along: Along, values: Sequence[float]) -> Iterator[Point]:
    """Measure callers in parallel, each with one sample at a time and a thread of its own."""
    # OpenVINO divides its threads among requests; other engines run in the caller's thread.
    shared = load_manifest(along.folder).engine == "openvino"
    for value in values:
        callers = int(value)
        threads = callers if shared else 1
        with open_subject(along.folder, threads=threads, max_batch=1, hint="throughput") as subject:
            run = partial(_together, subject, callers, along.duration_s)
            found: _Together = quietest(run, tries=along.tries)
        yield Point(
            artifact=along.name,
            axis="streams",
            value=value,
            samples_per_s=found.samples_per_s,
            call_ms=float(np.median(found.queries_ns)) / 1e6,
            noise=found.noise,
        )


def _together(subject: Subject, callers: int, duration_s: float) -> _Together:
    system, ready = subject.engine(1), Barrier(callers)

    def run() -> tuple[float, list[int]]:
        turns, times = Turns(system), list[int]()
        warm_up(turns, min_runs=20, min_s=0.2, max_s=1.0)
        ready.wait()
        began = time.perf_counter()
        for _ in calls_until(began + duration_s):
            taken_ns, answer = time_once(turns)
            times.append(taken_ns)
            check_answer(turns, answer)
        return time.perf_counter() - began, times

    watch = NoiseWatch()
    with ThreadPoolExecutor(callers) as pool:
        found = [each.result() for each in [pool.submit(run) for _ in range(callers)]]
    rate = sum(len(times) / seconds for seconds, times in found)
    queries = np.concatenate([np.array(times, np.int64) for _, times in found])
    return _Together(rate, queries, watch.read())


def _cameras(along: Along, values: Sequence[float]) -> Iterator[Point]:
    with open_subject(along.folder, threads=along.threads, max_batch=1) as subject:
        warm_up(Turns(subject.reader), min_runs=50, min_s=0.5, max_s=2.0)
        for value in values:
            run = partial(
                camera,
                subject.reader,
                cameras=int(value),
                fps=along.fps,
                min_duration_s=along.duration_s,
                workers=along.workers,
            )
            yield _served(along, value, quietest(run, tries=along.tries))


def _served(along: Along, value: float, found: CameraRun) -> Point:
    served = found.served
    return Point(
        artifact=along.name,
        axis="cameras",
        value=value,
        samples_per_s=int(served.answered.sum()) / (served.end_ns / 1e9),
        call_ms=found.latency.percentile_ms(0.5),
        noise=found.noise,
        more={
            "dropped": f"{found.dropped.value:.1%}",
            "late": f"{found.late.value:.1%}",
            "fps each": f"{along.fps:g}",
        },
    )


def _sizes(along: Along, values: Sequence[float]) -> Iterator[Point]:
    yield from measure_sizes(
        along.name,
        along.folder,
        values,
        threads=along.threads,
        duration_s=along.duration_s,
        tries=along.tries,
    )


AXES: Final[Mapping[str, Callable[[Along, Sequence[float]], Iterator[Point]]]] = {
    "batch": _batches,
    "threads": _threads,
    "streams": _streams,
    "cameras": _cameras,
    "size": _sizes,
}
"""Name to what measures along it."""
