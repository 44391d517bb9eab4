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
        pss = "-" if self.cold.pss_mb is None else f"{self.cold.pss_mb:.1f}"
        return {"cold start p50, ms": bounded(self.cold.latency, 0.5), "PSS, MB": pss}

    def measurements(self) -> list[Measurement]:
        """See ``Finding``."""
        found = of_latency("latency.cold_start_ms", "cold-start", self.cold.latency)
        if self.cold.pss_mb is not None:
            runs = self.cold.latency.count
            found.append(Measurement(metric="size.pss_mb", value=self.cold.pss_mb, samples=runs))
        return found

    def to_object(self) -> Mapping[str, Any]:
        """See ``Finding``."""
        return {"cold_start": {**self.cold.latency.to_object(), "pss_mb": self.cold.pss_mb}}


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
