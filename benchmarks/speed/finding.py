"""What one scenario found out about one artifact: a table's rows, a budget's measurements, JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.budget import Measurement
from benchmarks.intervals import PERCENTILES
from benchmarks.noise import Noise
from benchmarks.scenarios import Latency
from benchmarks.scenarios.open_loop import Served

__all__ = ["Finding", "bounded", "of_latency", "percentile_rows", "stage_rows"]


class Finding:
    """What one scenario found out."""

    __slots__ = ()

    @property
    def noises(self) -> Sequence[Noise]:
        """What others used during each of its timings."""
        return []

    @property
    def times_ns(self) -> Mapping[str, npt.NDArray[np.int64]]:
        """Name to times for a histogram."""
        return {}

    @property
    def timeline(self) -> tuple[Served, float] | None:
        """A run with arrivals, to be drawn over time, and its limit in ms; None without one."""
        return None

    def rows(self) -> Mapping[str, str]:
        """Return name to text of every headline number."""
        raise NotImplementedError

    def measurements(self) -> list[Measurement]:
        """Return what a budget may limit."""
        raise NotImplementedError

    def to_object(self) -> Mapping[str, Any]:
        """Return everything for a report."""
        raise NotImplementedError


def of_latency(metric: str, scenario: str, latency: Latency) -> list[Measurement]:
    """Return the percentiles of a latency as a budget may limit them."""
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


def percentile_rows(name: str, latency: Latency) -> Mapping[str, str]:
    """Return a row per percentile."""
    return {
        f"{name} {stat}, ms": bounded(latency, quantile) for stat, quantile in PERCENTILES.items()
    }


def stage_rows(name: str, stages: Mapping[str, Latency]) -> Mapping[str, str]:
    """Return one row: where the median goes."""
    parts = {stage: each.percentile_ms(0.5) for stage, each in stages.items()}
    known = [f"{stage} {value:.3f}" for stage, value in parts.items() if value is not None]
    return {f"{name}: stages p50, ms": ", ".join(known)} if known else {}


def bounded(latency: Latency, quantile: float) -> str:
    """Return a percentile and its upper bound at 99 % confidence; a dash from too few queries."""
    value = latency.percentile_ms(quantile)
    if value is None:
        return f"- ({latency.count} queries)"
    return f"{value:.3f} (<= {latency.bounds_ms(quantile)[1]:.3f})"
