"""What Server and Camera found out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.budget import Measurement
from benchmarks.intervals import Share
from benchmarks.noise import Noise
from benchmarks.scenarios import CameraRun, RateSearch, ServerRun
from benchmarks.scenarios.open_loop import Served

from .finding import Finding, of_latency, percentile_rows, stage_rows

__all__ = ["CameraFinding", "ServerFinding"]


@dataclass(frozen=True, slots=True)
class ServerFinding(Finding):
    """Random arrivals: at the rate that was asked for, or at the highest that holds."""

    run: ServerRun
    """At that rate; at the last that was tried where none holds."""
    bound_ms: float
    search: RateSearch | None
    """None: the rate was given."""

    @property
    def noises(self) -> Sequence[Noise]:
        """See ``Finding``."""
        return [self.run.noise, *([self.search.noise] if self.search else [])]

    @property
    def times_ns(self) -> Mapping[str, npt.NDArray[np.int64]]:
        """See ``Finding``."""
        return {"server": self.run.latency.queries_ns}

    @property
    def timeline(self) -> tuple[Served, float] | None:
        """See ``Finding``."""
        return self.run.served, self.bound_ms

    def rows(self) -> Mapping[str, str]:
        """See ``Finding``."""
        if self.search is None:
            name = f"server at {self.run.rate:.5g}/s: 99 % within {self.bound_ms:g} ms"
            rows = {name: str(self.run.outcome)}
        else:
            name = f"server: queries/s, 99 % within {self.bound_ms:g} ms"
            rows = {name: f"{self.search.held:.5g} (< {self.search.failed:.5g})"}
        rows.update(percentile_rows("server", self.run.latency))
        return {**rows, **stage_rows("server", self.run.stages)}

    def measurements(self) -> list[Measurement]:
        """See ``Finding``."""
        found = of_latency("latency.read_ms", "server", self.run.latency)
        found += of_latency("latency.queue_ms", "server", self.run.stages["queue"])
        if self.search is not None:
            # Both ends were shown with 99 % confidence, whatever is asked for.
            ends = (self.search.held, self.search.failed)
            found.append(
                Measurement(
                    metric="throughput.samples_per_s",
                    value=self.search.held,
                    samples=sum(run.latency.count for run in self.search.trials),
                    bounds=lambda _confidence: ends,
                    stat="mean",
                    scenario="server",
                    noisy=self.search.noise.noisy,
                )
            )
        return found

    def to_object(self) -> Mapping[str, Any]:
        """See ``Finding``."""
        search = self.search.to_object() if self.search else None
        return {"server": {**self.run.to_object(), "search": search}}


@dataclass(frozen=True, slots=True)
class CameraFinding(Finding):
    """Frames that were dropped, late, or answered in time."""

    run: CameraRun

    @property
    def noises(self) -> Sequence[Noise]:
        """See ``Finding``."""
        return [self.run.noise]

    @property
    def times_ns(self) -> Mapping[str, npt.NDArray[np.int64]]:
        """See ``Finding``."""
        return {"camera": self.run.latency.queries_ns}

    @property
    def timeline(self) -> tuple[Served, float] | None:
        """See ``Finding``."""
        return self.run.served, self.run.deadline_ms

    def rows(self) -> Mapping[str, str]:
        """See ``Finding``."""
        run = self.run
        load = f"{run.cameras} x {run.fps:g} fps"
        return {
            f"frames dropped, {load}": str(run.dropped),
            f"frames late (> {run.deadline_ms:g} ms)": str(run.late),
            **percentile_rows("camera", run.latency),
            **stage_rows("camera", run.stages),
        }

    def measurements(self) -> list[Measurement]:
        """See ``Finding``."""
        run = self.run
        shares = {"frames.dropped": run.dropped, "frames.late": run.late}
        found = [self._of_share(metric, share) for metric, share in shares.items()]
        found += of_latency("latency.read_ms", "camera", run.latency)
        return found + of_latency("latency.queue_ms", "camera", run.stages["queue"])

    def _of_share(self, metric: str, share: Share) -> Measurement:
        return Measurement(
            metric=metric,
            value=share.value,
            samples=share.total,
            bounds=share.bounds,
            stat="mean",
            scenario="camera",
            noisy=self.run.noise.noisy,
        )

    def to_object(self) -> Mapping[str, Any]:
        """See ``Finding``."""
        return {"camera": self.run.to_object()}
