"""Measuring one artifact in the scenarios that were asked for, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.budget import Limit, Measurement
from benchmarks.cold_start import cold_starts
from benchmarks.device.meters import find_meter
from benchmarks.device.watch import StateWatch
from benchmarks.noise import Noise, quietest
from benchmarks.scenarios import (
    Latency,
    Speedup,
    Turns,
    camera,
    compare_interleaved,
    highest_rate,
    multi_stream,
    offline,
    server,
    single_stream,
    warm_up,
)
from benchmarks.scenarios.latencies import stages_of
from runtime.arrays import Image
from runtime.errors import ConfigError

from .closed_loop import MultiStreamFinding, OfflineFinding, SingleStreamFinding
from .energy import measure_energy
from .finding import Finding
from .footprint import ColdStartFinding, SizeFinding
from .loads import Loads
from .machine import MachineFinding
from .open_loop import CameraFinding, ServerFinding
from .picture import measure_pictures
from .subject import Subject, artifact_sizes_mb, describe_crops, open_subject

__all__ = [
    "ON_GPU",
    "SCENARIOS",
    "Plan",
    "Speed",
    "measure_speed",
    "scenarios_for",
    "speedup_measurement",
]

STANDARD: Final = ("single-stream", "offline")
"""Scenarios that are measured unless others are asked for."""
ON_GPU: Final = frozenset({"trt", "rtx"})
"""Engines that do."""
_TRIAL_QUERIES: Final = 2648
"""Of a brief server run: four times what can prove a p99, so that one that holds mostly shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to measure."""

    threads: int
    batch: int
    """Samples per query of the Offline scenario; most waiting ones that Server and Camera take."""
    duration_s: float
    """Least time per scenario."""
    tries: int
    """Measure a scenario again, at most this often, while others keep the machine busy."""
    cold_starts: int
    """Fresh processes to start; 0 for none."""
    scenarios: Sequence[str] = STANDARD
    """Keys of ``SCENARIOS``."""
    loads: Loads = field(default_factory=Loads)
    """What the scenarios ask of the artifact."""
    crops: Sequence[Image] = ()
    """(H, W, 3) uint8 each; the artifact's golden crops, enlarged, if there are none."""
    decoders: Sequence[Callable[[], Image]] = ()
    """Each decodes one of the crops from bytes in memory; none: there are no files."""


@dataclass(frozen=True, slots=True)
class Speed:
    """One artifact on this machine."""

    findings: Mapping[str, Finding]
    """By scenario, in order; then pictures, energy, cold start, size and the machine."""
    crops: Mapping[str, str] = field(default_factory=dict)
    """What ``describe_crops`` says of the crops that were timed."""

    def rows(self) -> Mapping[str, str]:
        """Return name to text of every headline number."""
        rows = {name: text for each in self.findings.values() for name, text in each.rows().items()}
        noises = [noise for finding in self.findings.values() for noise in finding.noises]
        busiest = max((noise.other_cores or 0.0 for noise in noises), default=0.0)
        noisy = any(noise.noisy for noise in noises)
        rows["cores used by others"] = f"{busiest:.2f}" + (" NOISY" if noisy else "")
        rows["disturbed"] = "; ".join(self.disturbances) or "no"
        return rows

    @property
    def disturbances(self) -> Sequence[str]:
        """Why the timings are in doubt: what the device tells, and other processes."""
        machine = self.findings.get("machine")
        told = list(machine.course.disturbances) if isinstance(machine, MachineFinding) else []
        noises = [noise for finding in self.findings.values() for noise in finding.noises]
        loud = [noise.other_cores for noise in noises if noise.noisy]
        if None in loud:
            told.append("nobody knows what other processes used")
        known = [cores for cores in loud if cores is not None]
        if known:
            told.append(f"other processes used up to {max(known):.2f} cores")
        return told

    def measurements(self) -> list[Measurement]:
        """Return what a budget may limit."""
        return [found for each in self.findings.values() for found in each.measurements()]

    def to_object(self) -> Mapping[str, Any]:
        """Return everything for a report."""
        found = [each.to_object() for each in self.findings.values()]
        told = {key: value for each in found for key, value in each.items()}
        return {**told, "timed_crops": self.crops, "disturbed": self.disturbances}


def scenarios_for(limits: Sequence[Limit], only: Sequence[str] = ()) -> Sequence[str]:
    """Return the scenarios to measure.

    Args:
        limits: Of a budget.
        only: What was asked for; else those of every plan and those that limits ask for, in order.

    Raises:
        ConfigError: a limit leaves out which of several scenarios it means.
    """
    asked = {limit.scenarios[0] for limit in limits if len(limit.scenarios) == 1} | set(STANDARD)
    names = only or [name for name in SCENARIOS if name in asked]
    for limit in limits:
        fits = [name for name in limit.scenarios if name in names]
        if len(fits) > 1 or (len(limit.scenarios) > 1 and not fits and not only):
            raise ConfigError(
                f"limit on {limit.metric!r}: add scenario, one of "
                f"{', '.join(fits or limit.scenarios)}"
            )
    return names


def measure_speed(folder: Path, plan: Plan) -> Speed:
    """Measure one artifact in all scenarios of ``plan``.

    Raises:
        ArtifactError: the folder is no artifact.
        EngineError: the engine cannot be loaded or run, or answered wrongly while it was timed.
    """
    findings: dict[str, Finding] = {}
    most = max(plan.batch, plan.loads.streams)
    watch = StateWatch()
    with open_subject(folder, threads=plan.threads, max_batch=most, crops=plan.crops) as subject:
        with watch:
            for name in plan.scenarios:
                findings[name] = SCENARIOS[name](subject, plan)
            findings["pictures"] = measure_pictures(plan.decoders, min(1.0, plan.duration_s))
        gpu = subject.manifest.engine in ON_GPU
        meter = find_meter(gpu=gpu)
        findings["energy"] = measure_energy(
            subject, meter, batch=plan.batch, duration_s=plan.duration_s
        )
        sizes = artifact_sizes_mb(folder, subject.manifest)
        shape = subject.crops[0].shape[:2]
        timed = describe_crops(subject.crops, own=not plan.crops)
        session = dict(subject.session.description)
    if plan.cold_starts:
        cold = cold_starts(
            folder,
            runs=plan.cold_starts,
            threads=plan.threads,
            image_shape=(shape[0], shape[1]),
            gpu=gpu,
        )
        findings["cold-start"] = ColdStartFinding(cold)
    machine = MachineFinding(watch.course, session)
    return Speed({**findings, "size": SizeFinding(*sizes), "machine": machine}, timed)


@dataclass(frozen=True, slots=True)
class _Reads:
    """A latency of the reader with the stages of its calls."""

    latency: Latency
    stages: Mapping[str, Latency]

    @property
    def noise(self) -> Noise:
        return self.latency.noise

    @classmethod
    def of(
        cls, stream: Callable[[Turns], Latency], subject: Subject, samples: int, tries: int
    ) -> _Reads:
        def measure() -> _Reads:
            turns = Turns(subject.reader, samples)
            latency = stream(turns)
            return cls(latency, stages_of(turns.timings, latency.noise))

        return quietest(measure, tries=tries)


def _single_stream(subject: Subject, plan: Plan) -> Finding:
    stream = partial(single_stream, min_duration_s=plan.duration_s)
    run = Turns(subject.engine(1))
    engine = quietest(partial(stream, run), tries=plan.tries)
    read = _Reads.of(stream, subject, 1, plan.tries)
    turns = partial(compare_interleaved, {"engine": run, "read": Turns(subject.reader)})
    interleaved = quietest(turns, tries=plan.tries)
    return SingleStreamFinding(
        engine=engine, read=read.latency, stages=read.stages, interleaved=interleaved
    )


def _multi_stream(subject: Subject, plan: Plan) -> Finding:
    stream = partial(multi_stream, min_duration_s=plan.duration_s)
    read = _Reads.of(stream, subject, plan.loads.streams, plan.tries)
    return MultiStreamFinding(streams=plan.loads.streams, read=read.latency, stages=read.stages)


def _offline(subject: Subject, plan: Plan) -> Finding:
    turns = Turns(subject.engine(plan.batch))
    rate = partial(offline, turns, batch=plan.batch, min_duration_s=plan.duration_s)
    return OfflineFinding(quietest(rate, tries=plan.tries))


def _warm_s(subject: Subject, plan: Plan) -> float:
    """Warm the reader up for every size of batch that a queue may make; return what one takes."""
    for samples in range(plan.batch, 0, -1):
        warm = warm_up(Turns(subject.reader, samples), min_runs=30, min_s=0.2, max_s=1.0)
    return warm.median_s


def _server(subject: Subject, plan: Plan) -> Finding:
    loads, one_s = plan.loads, _warm_s(subject, plan)
    run = partial(
        server,
        subject.reader,
        bound_ms=loads.bound_ms,
        batch=plan.batch,
        workers=loads.workers,
        seed=loads.seed,
    )
    whole = partial(run, min_duration_s=plan.duration_s)
    if loads.rate is not None:
        asked = quietest(partial(whole, rate=loads.rate), tries=plan.tries)
        return ServerFinding(asked, loads.bound_ms, None)
    search = highest_rate(
        lambda rate: run(rate=rate, min_duration_s=min(plan.duration_s, _TRIAL_QUERIES / rate)),
        lambda rate: quietest(partial(whole, rate=rate), tries=plan.tries),
        start=0.5 / one_s,
    )
    return ServerFinding(search.told, loads.bound_ms, search)


def _camera(subject: Subject, plan: Plan) -> Finding:
    loads = plan.loads
    _warm_s(subject, plan)
    run = partial(
        camera,
        subject.reader,
        cameras=loads.cameras,
        fps=loads.fps,
        jitter_ms=loads.jitter_ms,
        deadline_ms=loads.deadline_ms,
        min_duration_s=plan.duration_s,
        batch=plan.batch,
        workers=loads.workers,
        seed=loads.seed,
    )
    return CameraFinding(quietest(run, tries=plan.tries))


SCENARIOS: Final[Mapping[str, Callable[[Subject, Plan], Finding]]] = {
    "single-stream": _single_stream,
    "multi-stream": _multi_stream,
    "server": _server,
    "offline": _offline,
    "camera": _camera,
}
"""Name, as in a budget, to what measures it."""


def speedup_measurement(ratio: Speedup, of: str = "engine") -> Measurement:
    """Return what a budget may limit of one artifact against the first.

    Args:
        ratio: Of the two.
        of: ``engine``, the engine call, or ``read``, the whole reader.
    """
    return Measurement(
        metric=f"speedup.{of}",
        value=ratio.value,
        samples=len(ratio.rounds),
        bounds=ratio.bounds,
        stat="p50",
        scenario="interleaved",
    )
