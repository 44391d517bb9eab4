"""What an artifact costs besides time per query: fresh processes, memory, files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.budget import Measurement
from benchmarks.cold_start import ColdStarts
from benchmarks.noise import Noise

from .finding import Finding, bounded, of_latency

__all__ = ["ColdStartFinding", "SizeFinding", "size_measurements"]


@dataclass(frozen=True, slots=True)
class ColdStartFinding(Finding):
    """Fresh processes."""

    cold: ColdStarts

    @property
    def noises(self) -> Sequence[Noise]:
        """See ``Finding``."""
        return [self.cold.latency.noise]

    def rows(self) -> Mapping[str, str]:
        """See ``Finding``."""
        cold = self.cold
        sizes = {"PSS, MB": cold.pss_mb, "peak RSS, MB": cold.peak_mb, "GPU, MB": cold.gpu_mb}
        return {
            "cold start p50, ms": bounded(cold.latency, 0.5),
            **{name: f"{size:.1f}" for name, size in sizes.items() if size is not None},
        }

    def measurements(self) -> list[Measurement]:
        """See ``Finding``."""
        found = of_latency("latency.cold_start_ms", "cold-start", self.cold.latency)
        sizes = {
            "size.pss_mb": self.cold.pss_mb,
            "size.peak_rss_mb": self.cold.peak_mb,
            "size.gpu_mb": self.cold.gpu_mb,
        }
        runs = self.cold.latency.count
        found += [
            Measurement(metric=name, value=size, samples=runs)
            for name, size in sizes.items()
            if size is not None
        ]
        return found

    def to_object(self) -> Mapping[str, Any]:
        """See ``Finding``."""
        told = {
            "pss_mb": self.cold.pss_mb,
            "peak_rss_mb": self.cold.peak_mb,
            "gpu_mb": self.cold.gpu_mb,
            "no_gpu": self.cold.no_gpu,
        }
        return {"cold_start": {**self.cold.latency.to_object(), **told}}


@dataclass(frozen=True, slots=True)
class SizeFinding(Finding):
    """Files."""

    engine_mb: float
    """Graph and weights, 10^6 bytes."""
    artifact_mb: float
    """The whole folder, 10^6 bytes."""

    def rows(self) -> Mapping[str, str]:
        """See ``Finding``."""
        return {"engine, MB": f"{self.engine_mb:.3f}"}

    def measurements(self) -> list[Measurement]:
        """See ``Finding``."""
        return size_measurements(self.engine_mb, self.artifact_mb)

    def to_object(self) -> Mapping[str, Any]:
        """See ``Finding``."""
        return {"engine_mb": self.engine_mb, "artifact_mb": self.artifact_mb}


def size_measurements(engine_mb: float, artifact_mb: float) -> list[Measurement]:
    """Return what a budget may limit of an artifact's files."""
    sizes = {"size.engine_mb": engine_mb, "size.artifact_mb": artifact_mb}
    return [Measurement(metric=name, value=size, samples=1) for name, size in sizes.items()]
