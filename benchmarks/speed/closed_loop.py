"""What SingleStream, MultiStream and Offline found out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.budget import Measurement
from benchmarks.noise import Noise
from benchmarks.scenarios import Comparison, Latency, Throughput

from .finding import Finding, of_latency, percentile_rows, stage_rows

__all__ = ["MultiStreamFinding", "OfflineFinding", "SingleStreamFinding"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleStreamFinding(Finding):
    """One sample at a time: the engine call alone, and the whole ``Reader.read``."""

    engine: Latency
    read: Latency
    stages: Mapping[str, Latency]
    """Of ``read``: prepare, engine, decode."""
    interleaved: Comparison
    """``engine`` and ``read`` by turns."""

    @property
    def noises(self) -> Sequence[Noise]:
        """See ``Finding``."""
        return [self.engine.noise, self.read.noise, self.interleaved.noise]

    @property
    def times_ns(self) -> Mapping[str, npt.NDArray[np.int64]]:
        """See ``Finding``."""
        return {"engine": self.engine.queries_ns, "read": self.read.queries_ns}

    @property
    def overhead(self) -> float:
        """What ``Reader.read`` adds to the engine call, as a share of it; at least about 0."""
        return 1 / self.interleaved.speedups["read"].value - 1

    def overhead_bounds(self, confidence: float) -> tuple[float, float]:
        """Return a lower and an upper bound of ``overhead``, each alone with ``confidence``."""
        low, high = self.interleaved.speedups["read"].bounds(confidence)
        return 1 / high - 1, 1 / low - 1

    def rows(self) -> Mapping[str, str]:
        """See ``Finding``."""
        rows = {**percentile_rows("engine", self.engine), **percentile_rows("read", self.read)}
        return {
            **rows,
            **stage_rows("read", self.stages),
            "overhead of read": f"{self.overhead:.1%}",
        }

    def measurements(self) -> list[Measurement]:
        """See ``Finding``."""
        overhead = Measurement(
            metric="latency.overhead",
            value=self.overhead,
            samples=len(self.interleaved.blocks_ms["read"]),
            bounds=self.overhead_bounds,
            stat="p50",
            scenario="interleaved",
        )
        engine = of_latency("latency.engine_ms", "single-stream", self.engine)
        return [*engine, *of_latency("latency.read_ms", "single-stream", self.read), overhead]

    def to_object(self) -> Mapping[str, Any]:
        """See ``Finding``."""
        stages = {name: stage.to_object() for name, stage in self.stages.items()}
        return {
            "engine": {"scenario": "single-stream", **self.engine.to_object()},
            "read": {"scenario": "single-stream", "stages": stages, **self.read.to_object()},
            "overhead": {"value": self.overhead, "bounds": self.overhead_bounds(0.975)},
            "interleaved": self.interleaved.to_object(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiStreamFinding(Finding):
    """Several samples a query."""

    streams: int
    read: Latency
    stages: Mapping[str, Latency]

    @property
    def noises(self) -> Sequence[Noise]:
        """See ``Finding``."""
        return [self.read.noise]

    @property
    def times_ns(self) -> Mapping[str, npt.NDArray[np.int64]]:
        """See ``Finding``."""
        return {f"read of {self.streams}": self.read.queries_ns}

    def rows(self) -> Mapping[str, str]:
        """See ``Finding``."""
        name = f"read of {self.streams}"
        return {**percentile_rows(name, self.read), **stage_rows(name, self.stages)}

    def measurements(self) -> list[Measurement]:
        """See ``Finding``."""
        return of_latency("latency.read_ms", "multi-stream", self.read)

    def to_object(self) -> Mapping[str, Any]:
        """See ``Finding``."""
        stages = {name: stage.to_object() for name, stage in self.stages.items()}
        told = {"scenario": "multi-stream", "streams": self.streams, "stages": stages}
        return {"multi_stream": {**told, **self.read.to_object()}}


@dataclass(frozen=True, slots=True)
class OfflineFinding(Finding):
    """Samples per second."""

    rate: Throughput

    @property
    def noises(self) -> Sequence[Noise]:
        """See ``Finding``."""
        return [self.rate.noise]

    def rows(self) -> Mapping[str, str]:
        """See ``Finding``."""
        return {f"samples/s, batch {self.rate.batch}": f"{self.rate.samples_per_s:.5g}"}

    def measurements(self) -> list[Measurement]:
        """See ``Finding``."""
        return [
            Measurement(
                metric="throughput.samples_per_s",
                value=self.rate.samples_per_s,
                samples=len(self.rate.queries_ns),
                bounds=self.rate.bounds,
                stat="mean",
                scenario="offline",
                noisy=self.rate.noise.noisy,
            )
        ]

    def to_object(self) -> Mapping[str, Any]:
        """See ``Finding``."""
        return {"offline": self.rate.to_object()}
