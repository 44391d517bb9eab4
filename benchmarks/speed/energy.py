"""What a sample costs in energy: the device's power under load, less what it takes idle."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.budget import Measurement
from benchmarks.device.energy import Energy, Meter
from benchmarks.noise import Noise, NoiseWatch
from benchmarks.scenarios import Turns, warm_up
from benchmarks.scenarios.turns import check_answer

from .finding import Finding
from .subject import Subject

__all__ = ["EnergyFinding", "EnergyRun", "measure_energy"]

IDLE_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyRun:
    """Power while something ran back to back."""

    energy: Energy
    samples: int
    seconds: float
    """How long the samples took; the meter may have run a moment longer."""
    noise: Noise

    def to_object(self, idle_w: float) -> Mapping[str, Any]:
        """Return everything for a report."""
        return {
            **self.energy.to_object(),
            "samples": self.samples,
            "joules_per_sample": self.joules_per_sample(0.0),
            "joules_per_sample_above_idle": self.joules_per_sample(idle_w),
            **self.noise.to_object(),
        }

    def joules_per_sample(self, idle_w: float) -> float | None:
        """Return the energy of a sample above idle; None where idle took more than the run.

        Args:
            idle_w: Power without load; 0 for the whole energy.
        """
        power = self.energy.watts - idle_w
        return power * self.seconds / self.samples if power > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyFinding(Finding):
    """Energy per sample, or why it is not known."""

    reason: str | None = None
    """Why there is nothing."""
    idle: Energy | None = None
    runs: Mapping[str, EnergyRun] = field(default_factory=dict)
    """``engine`` and ``read``, one sample at a time; ``offline`` in batches."""

    @property
    def noises(self) -> Sequence[Noise]:
        """See ``Finding``."""
        return [run.noise for run in self.runs.values()]

    @property
    def _idle_w(self) -> float:
        return self.idle.watts if self.idle else 0.0

    def rows(self) -> Mapping[str, str]:
        """See ``Finding``."""
        if self.idle is None:
            return {"energy": f"not known: {self.reason}"}
        rows = {
            f"energy of {name}, mJ above idle": "-" if cost is None else f"{cost * 1e3:.4g}"
            for name, cost in self._costs.items()
        }
        return {**rows, "idle, W": f"{self.idle.watts:.3g} ({self.idle.source})"}

    @property
    def _costs(self) -> Mapping[str, float | None]:
        return {name: run.joules_per_sample(self._idle_w) for name, run in self.runs.items()}

    def measurements(self) -> list[Measurement]:
        """See ``Finding``."""
        if self.idle is None:
            return []
        costs = [
            Measurement(
                metric=f"energy.{name}_mj",
                value=cost * 1e3,
                samples=self.runs[name].samples,
                stat="mean",
                noisy=self.runs[name].noise.noisy,
            )
            for name, cost in self._costs.items()
            if cost is not None
        ]
        return [*costs, Measurement(metric="energy.idle_w", value=self.idle.watts, samples=1)]

    def to_object(self) -> Mapping[str, Any]:
        """See ``Finding``."""
        runs = {name: run.to_object(self._idle_w) for name, run in self.runs.items()}
        idle = self.idle.to_object() if self.idle else None
        return {"energy": {"reason": self.reason, "idle": idle, "runs": runs or None}}


def measure_energy(
    subject: Subject, meter: Meter | str, *, batch: int, duration_s: float, idle_s: float = IDLE_S
) -> EnergyFinding:
    """Measure the device idle, then under load.

    Args:
        subject: What is measured.
        meter: What tells the energy, or why nothing does.
        batch: Samples of a call of ``offline``.
        duration_s: Least time of each run.
        idle_s: How long the device is watched idle.

    Raises:
        EngineError: an answer was wrong, so that the run is void.
    """
    if isinstance(meter, str):
        return EnergyFinding(reason=meter)
    queries = {"engine": (Turns(subject.engine(1)), 1), "read": (Turns(subject.reader), 1)}
    if batch > 1:
        queries["offline"] = (Turns(subject.engine(batch)), batch)
    for query, _ in queries.values():
        warm_up(query, min_runs=20, min_s=0.2, max_s=2.0)
    idle = _metered(meter, lambda: time.sleep(idle_s))
    if isinstance(idle, str):
        return EnergyFinding(reason=idle)
    runs: dict[str, EnergyRun] = {}
    for name, (query, samples) in queries.items():
        found = _loaded(meter, query, samples, duration_s)
        if isinstance(found, str):
            return EnergyFinding(reason=found)
        runs[name] = found
    return EnergyFinding(idle=idle, runs=runs)


def _loaded(meter: Meter, query: Turns, samples: int, duration_s: float) -> EnergyRun | str:
    count, watch, began = 0, NoiseWatch(), time.perf_counter()
    end = began

    def run() -> None:
        nonlocal count, began, end
        began = end = time.perf_counter()
        while end - began < duration_s:
            check_answer(query, query())
            count += samples
            end = time.perf_counter()

    energy = _metered(meter, run)
    if isinstance(energy, str):
        return energy
    return EnergyRun(energy=energy, samples=count, seconds=end - began, noise=watch.read())


def _metered(meter: Meter, work: Callable[[], None]) -> Energy | str:
    meter.start()
    try:
        work()
    except BaseException:
        meter.stop()
        raise
    return meter.stop()
