"""Numbers of candidates: quick ones for screening, those of the budget's judge for the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from benchmarks.assessment import Assessment, assess, check_named, difference
from benchmarks.budget import Limit, Measurement
from benchmarks.command import say
from benchmarks.device.meters import find_meter
from benchmarks.device.nvml import gpu_used_mb
from benchmarks.intervals import PERCENTILES
from benchmarks.noise import quietest
from benchmarks.scenarios import (
    Comparison,
    Query,
    compare_interleaved,
    single_stream,
)
from benchmarks.scoring import open_engine
from benchmarks.speed import (
    ON_GPU,
    Loads,
    Plan,
    artifact_sizes_mb,
    engine_input,
    measure_speed,
    scenarios_for,
    size_measurements,
)
from compress.quantize.decisions import score_session
from runtime.errors import ConfigError
from train.checkpoint import Checkpoint
from train.data import CropSet
from train.engines import one_thread, run_eager
from train.network import Network
from train.scoring import score

__all__ = [
    "ACCURACY_FAMILIES",
    "Facts",
    "Reference",
    "check_limits",
    "check_measurable",
    "fact",
    "facts_from_object",
    "facts_to_object",
    "fastest",
    "measure",
    "measure_accuracy",
    "quick_speed",
    "race",
    "to_facts",
]

Facts = tuple[Measurement, ...]
"""Measurements without bounds: what is kept of those that only choose, and never judge."""
ACCURACY_FAMILIES: Final = frozenset({"accuracy", "versus"})
LATENCY: Final = "latency.engine_ms"
SPEEDUP: Final = "speedup.engine"
REFERENCE: Final = "the checkpoint in torch"
_ACCEPTED: Final = ("accuracy.recall_at_precision", "accuracy.precision_of_accepted")
_KEPT: Final = ("metric", "value", "stat", "scenario", "noisy")
_QUICK_S: Final = 0.5
_ROUNDS: Final = 40
_COLD_METRICS: Final = frozenset(
    {"latency.cold_start_ms", "size.pss_mb", "size.peak_rss_mb", "size.gpu_mb"}
)
_COLD_STARTS: Final = 11


@dataclass(frozen=True, slots=True)
class Reference:
    """The checkpoint that was given, in torch: what is lost and gained is against it."""

    network: Network
    crops: CropSet
    """Validation."""
    assessment: Assessment

    @classmethod
    def of(cls, checkpoint: Checkpoint, crops: CropSet) -> Reference:
        """Evaluate the checkpoint on validation crops."""
        network, operating = checkpoint.build(), checkpoint.operating
        found = assess(checkpoint.schema, score(network, crops), crops.targets, operating)
        return cls(network, crops, found)

    @contextmanager
    def timed(self) -> Iterator[Query]:
        """Yield a query as ``speedup`` limits mean it: one crop, eager, FP32, one thread."""
        image = torch.from_numpy(self.crops.images_at(np.zeros(1, np.int64)))
        with one_thread():
            yield partial(run_eager, self.network, image)


def fastest(query: Query) -> tuple[float, bool]:
    """Return the least latency of a query in ms, and whether the machine was busy meanwhile.

    Other processes only ever make a query slower, so the least of many is nearest to the truth.
    """
    stream = partial(single_stream, query, min_duration_s=_QUICK_S, max_duration_s=10 * _QUICK_S)
    found = quietest(stream, tries=2)
    return float(found.queries_ns.min()) / 1e6, found.noise.noisy


def quick_speed(folder: Path, reference_ms: float, threads: int) -> Facts:
    """Measure what screening needs of one artifact, in about two seconds.

    The fastest query stands for every statistic of the latency: what even it misses is out of
    reach. Where the machine is busy, facts are noisy, and a limit that they miss is not held
    against them.

    Args:
        folder: Artifact.
        reference_ms: Least latency of the checkpoint in torch.
        threads: Of the engine.
    """
    with open_engine(folder, threads=threads) as (manifest, session):
        least_ms, noisy = fastest(partial(session.run, engine_input(folder, manifest, 1)))
        sizes = size_measurements(*artifact_sizes_mb(folder, manifest))
    timed = [(LATENCY, stat, least_ms, "single-stream") for stat in PERCENTILES]
    timed.append((SPEEDUP, "p50", reference_ms / least_ms, "interleaved"))
    return (
        *(
            fact(metric, value, stat=stat, scenario=scenario, noisy=noisy)
            for metric, stat, value, scenario in timed
        ),
        *to_facts(sizes),
    )


def race(folders: Mapping[str, Path], reference: Reference, *, threads: int) -> Comparison:
    """Time artifacts by turns, the checkpoint in torch first.

    Args:
        folders: Name to artifact.
        reference: The checkpoint.
        threads: Of the engines.
    """
    with ExitStack() as stack:
        queries: dict[str, Query] = {REFERENCE: stack.enter_context(reference.timed())}
        for name, folder in folders.items():
            manifest, session = stack.enter_context(open_engine(folder, threads=threads))
            queries[name] = partial(session.run, engine_input(folder, manifest, 1))
        return compare_interleaved(queries, rounds=_ROUNDS)


def measure(
    folder: Path,
    reference: Reference,
    limits: Sequence[Limit],
    *,
    loads: Loads,
    threads: int,
    duration_s: float,
) -> list[Measurement]:
    """Measure what ``benchmarks.accuracy`` and ``benchmarks.latency`` do, but for the speedup."""
    cold = any(limit.metric in _COLD_METRICS for limit in limits)
    plan = Plan(
        threads=threads,
        batch=1,
        duration_s=duration_s,
        tries=3,
        cold_starts=_COLD_STARTS if cold else 0,
        scenarios=scenarios_for(limits),
        loads=loads,
    )
    speed = measure_speed(folder, plan).measurements()
    return measure_accuracy(folder, reference, threads=threads) + speed


def measure_accuracy(folder: Path, reference: Reference, *, threads: int) -> list[Measurement]:
    """Measure what ``benchmarks.accuracy`` measures, on validation and against the reference."""
    crops = reference.crops
    with open_engine(folder, threads=threads) as (manifest, session):
        logits = score_session(session, crops)
    found = assess(manifest.schema, logits, crops.targets, manifest.operating)
    return found.measurements() + difference(reference.assessment, found).measurements()


def check_limits(limits: Sequence[Limit], reference: Reference) -> None:
    """Fail on limits that no artifact of this search could keep, before hours of training.

    Raises:
        ConfigError: a limit on a head or reading that is not there, or one that leaves out which
            of several scenarios it means.
    """
    check_named(limits, reference.assessment.schema)
    scenarios_for(limits)
    if any(limit.metric in _ACCEPTED for limit in limits):
        say(
            "note: thresholds are fitted on the validation crops, so what the budget asks of "
            "accepted answers is flattered here; judge the artifact on a test list as well"
        )


def check_measurable(limits: Sequence[Limit], engines: Sequence[str]) -> None:
    """Fail on limits on what this search or this machine never measures: none would be kept.

    Args:
        limits: The budget.
        engines: Those that are searched.

    Raises:
        ConfigError: naming the limit, and why it is not measured.
    """
    for limit in limits:
        reason = _unmeasured(limit.metric, engines)
        if reason is not None:
            raise ConfigError(
                f"limit on {limit}: no artifact could keep it, as it is not measured here: "
                f"{reason}; search without it, and judge the artifact where it can be measured"
            )


def _unmeasured(metric: str, engines: Sequence[str]) -> str | None:
    """Return why a metric is not measured; None if it is."""
    if metric == "latency.picture_ms":
        return "a search decodes its crops before it measures"
    if metric == "energy.offline_mj":
        return "a search measures one crop a call"
    if metric.startswith("energy."):
        meters = [find_meter(gpu=engine in ON_GPU) for engine in engines]
        reasons = [meter for meter in meters if isinstance(meter, str)]
        return reasons[0] if len(reasons) == len(meters) else None
    if metric == "size.gpu_mb":
        used = gpu_used_mb() if {*engines} & ON_GPU else f"no GPU runs any of {', '.join(engines)}"
        return used if isinstance(used, str) else None
    return None


def fact(metric: str, value: float | None, **kind: Any) -> Measurement:
    """Return a measurement that is judged by its value."""
    return Measurement(metric=metric, value=value, samples=1, **kind)


def to_facts(measured: Sequence[Measurement]) -> Facts:
    """Leave of measurements what a file keeps."""
    return facts_from_object(facts_to_object(measured))


def facts_to_object(facts: Sequence[Measurement]) -> list[Mapping[str, Any]]:
    """Return plain JSON values."""
    return [{name: getattr(item, name) for name in _KEPT} for item in facts]


def facts_from_object(values: Sequence[Mapping[str, Any]]) -> Facts:
    """Return what ``facts_to_object`` took."""
    return tuple(fact(**value) for value in values)
