"""All that is known of one artifact's speed and size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from runtime.arrays import Images
from runtime.golden import load_golden
from runtime.manifest import GOLDEN_FILE, MANIFEST_FILE, Manifest
from runtime.preprocess import InputSpec, fit
from runtime.reader import Reader
from runtime.session import Session

from .budget import Measurement
from .cold_start import ColdStarts, cold_starts
from .noise import quietest
from .scenarios import (
    PERCENTILES,
    Comparison,
    Latency,
    Speedup,
    Throughput,
    compare_interleaved,
    offline,
    single_stream,
)
from .scoring import open_engine

__all__ = [
    "Plan",
    "Speed",
    "artifact_sizes_mb",
    "engine_input",
    "measure_speed",
    "size_measurements",
    "speedup_measurement",
]

_OTHER_FILES: Final = frozenset({GOLDEN_FILE, MANIFEST_FILE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to measure."""

    threads: int
    batch: int
    """Samples per query of the Offline scenario."""
    duration_s: float
    """Least time per scenario."""
    tries: int
    """Measure a scenario again, at most this often, while others keep the machine busy."""
    cold_starts: int
    """Fresh processes to start; 0 for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """One artifact on this machine."""

    engine: Latency
    """SingleStream of the engine call alone, one sample, input ready."""
    read: Latency
    """SingleStream of ``Reader.read`` on a crop 1.5 times the input size."""
    interleaved: Comparison
    """Engine call and ``Reader.read`` by turns."""
    offline: Throughput
    """Engine calls of ``Plan.batch`` samples."""
    cold: ColdStarts | None
    engine_mb: float
    """Graph and weights, 10^6 bytes."""
    artifact_mb: float
    """The whole folder, 10^6 bytes."""

    @property
    def overhead(self) -> float:
        """What ``Reader.read`` adds to the engine call, as a share of it; at least about 0."""
        return 1 / self.interleaved.speedups["read"].value - 1

    def overhead_bounds(self, confidence: float) -> tuple[float, float]:
        """Return a lower and an upper bound of ``overhead``, each alone with ``confidence``."""
        low, high = self.interleaved.speedups["read"].bounds(confidence)
        return 1 / high - 1, 1 / low - 1

    def rows(self) -> Mapping[str, str]:
        """Return name to text of every headline number."""
        rows = {}
        for name, latency in (("engine", self.engine), ("read", self.read)):
            for stat, quantile in PERCENTILES.items():
                rows[f"{name} {stat}, ms"] = _bounded(latency, quantile)
        rows["overhead of read"] = f"{self.overhead:.1%}"
        rows[f"samples/s, batch {self.offline.batch}"] = f"{self.offline.samples_per_s:.5g}"
        if self.cold is not None:
            rows["cold start p50, ms"] = _bounded(self.cold.latency, 0.5)
            rows["PSS, MB"] = "-" if self.cold.pss_mb is None else f"{self.cold.pss_mb:.1f}"
        rows["engine, MB"] = f"{self.engine_mb:.3f}"
        busiest = max(noise.other_cores or 0.0 for noise in self._noises)
        noisy = any(noise.noisy for noise in self._noises)
        rows["cores used by others"] = f"{busiest:.2f}" + (" NOISY" if noisy else "")
        return rows

    @property
    def _noises(self) -> list[Any]:
        found = [self.engine.noise, self.read.noise, self.interleaved.noise, self.offline.noise]
        return found + ([self.cold.latency.noise] if self.cold else [])

    def measurements(self) -> list[Measurement]:
        """Return what a budget may limit."""
        found = _of_latency("latency.engine_ms", "single-stream", self.engine)
        found += _of_latency("latency.read_ms", "single-stream", self.read)
        if self.cold is not None:
            found += _of_latency("latency.cold_start_ms", "cold-start", self.cold.latency)
            if self.cold.pss_mb is not None:
                runs = self.cold.latency.count
                found.append(
                    Measurement(metric="size.pss_mb", value=self.cold.pss_mb, samples=runs)
                )
        overhead = Measurement(
            metric="latency.overhead",
            value=self.overhead,
            samples=len(self.interleaved.blocks_ms["read"]),
            bounds=self.overhead_bounds,
            stat="p50",
            scenario="interleaved",
        )
        rate = Measurement(
            metric="throughput.samples_per_s",
            value=self.offline.samples_per_s,
            samples=len(self.offline.queries_ns),
            bounds=self.offline.bounds,
            stat="mean",
            scenario="offline",
            noisy=self.offline.noise.noisy,
        )
        found += size_measurements(self.engine_mb, self.artifact_mb)
        return [*found, overhead, rate]

    def to_object(self) -> Mapping[str, Any]:
        """Return everything for a report."""
        cold = self.cold
        return {
            "engine": {"scenario": "single-stream", **self.engine.to_object()},
            "read": {"scenario": "single-stream", **self.read.to_object()},
            "overhead": {"value": self.overhead, "bounds": self.overhead_bounds(0.975)},
            "interleaved": self.interleaved.to_object(),
            "offline": self.offline.to_object(),
            "cold_start": cold and {**cold.latency.to_object(), "pss_mb": cold.pss_mb},
            "engine_mb": self.engine_mb,
            "artifact_mb": self.artifact_mb,
        }


def measure_speed(folder: Path, plan: Plan) -> Speed:
    """Measure one artifact in all scenarios, one after the other.

    Raises:
        ArtifactError: the folder is no artifact.
        EngineError: the engine cannot be loaded or run.
    """
    with open_engine(folder, threads=plan.threads) as (manifest, session):
        reader = Reader(manifest, session, max_batch=plan.batch)
        one = engine_input(folder, manifest, 1)
        crop = fit(one[0], _crop_size(manifest.input))
        run, read = partial(session.run, one), partial(reader.read, crop)
        stream = partial(single_stream, min_duration_s=plan.duration_s)
        engine = quietest(partial(stream, run), tries=plan.tries)
        whole = quietest(partial(stream, read), tries=plan.tries)
        turns = partial(compare_interleaved, {"engine": run, "read": read})
        interleaved = quietest(turns, tries=plan.tries)
        rate = quietest(partial(_offline, folder, manifest, session, plan), tries=plan.tries)
    cold = None
    if plan.cold_starts:
        cold = cold_starts(
            folder, runs=plan.cold_starts, threads=plan.threads, image_shape=crop.shape[:2]
        )
    engine_mb, artifact_mb = artifact_sizes_mb(folder, manifest)
    return Speed(
        engine=engine,
        read=whole,
        interleaved=interleaved,
        offline=rate,
        cold=cold,
        engine_mb=engine_mb,
        artifact_mb=artifact_mb,
    )


def artifact_sizes_mb(folder: Path, manifest: Manifest) -> tuple[float, float]:
    """Return the size of graph and weights, and of the whole folder, in 10^6 bytes."""
    sizes = {name: record.size_bytes / 1e6 for name, record in manifest.files.items()}
    engine = sum(size for name, size in sizes.items() if name not in _OTHER_FILES)
    return engine, sum(sizes.values()) + (folder / MANIFEST_FILE).stat().st_size / 1e6


def engine_input(folder: Path, manifest: Manifest, batch: int) -> Images:
    """Return (batch, height, width, 3) uint8: the golden crops, repeated as often as needed."""
    golden = load_golden(folder / GOLDEN_FILE, manifest.schema, manifest.input).images
    return golden[[index % len(golden) for index in range(batch)]]


def size_measurements(engine_mb: float, artifact_mb: float) -> list[Measurement]:
    """Return what a budget may limit of ``artifact_sizes_mb``."""
    sizes = {"size.engine_mb": engine_mb, "size.artifact_mb": artifact_mb}
    return [Measurement(metric=name, value=size, samples=1) for name, size in sizes.items()]


def speedup_measurement(ratio: Speedup) -> Measurement:
    """Return what a budget may limit of one artifact against the first."""
    return Measurement(
        metric="speedup.engine",
        value=ratio.value,
        samples=len(ratio.rounds),
        bounds=ratio.bounds,
        stat="p50",
        scenario="interleaved",
    )


def _crop_size(spec: InputSpec) -> InputSpec:
    """A crop larger than the input: crops of the right size would skip the resize."""
    return InputSpec(height=spec.height * 3 // 2, width=spec.width * 3 // 2)


def _offline(folder: Path, manifest: Manifest, session: Session, plan: Plan) -> Throughput:
    images = engine_input(folder, manifest, plan.batch)
    return offline(partial(session.run, images), batch=plan.batch, min_duration_s=plan.duration_s)


def _of_latency(metric: str, scenario: str, latency: Latency) -> list[Measurement]:
    return [
        Measurement(
            metric=metric,
            value=latency.percentile_ms(quantile),
            samples=latency.count,
            bounds=partial(latency.bounds_ms, quantile),
            stat=stat,
            scenario=scenario,
            noisy=latency.noise.noisy,
        )
        for stat, quantile in PERCENTILES.items()
    ]


def _bounded(latency: Latency, quantile: float) -> str:
    value = latency.percentile_ms(quantile)
    if value is None:
        return f"- ({latency.count} queries)"
    return f"{value:.3f} (<= {latency.bounds_ms(quantile)[1]:.3f})"
