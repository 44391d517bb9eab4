"""One measurement of a curve, and what it may say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.noise import Noise

__all__ = ["Point"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Throughput of one artifact at one place of one axis."""

    artifact: str
    axis: str
    """A key of ``axes.AXES``."""
    value: float
    samples_per_s: float | None = None
    call_ms: float | None = None
    """Median time of a call; of cameras, from a frame's arrival to its answer."""
    noise: Noise | None = None
    reason: str | None = None
    """Why there is no number."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """What else this axis tells: frames dropped, input size."""

    def row(self, first: Point | None) -> Mapping[str, str]:
        """Return a table row; ``first`` is what the growth is against."""
        row = {"artifact": self.artifact, "against": self.axis, "value": f"{self.value:g}"}
        if self.samples_per_s is None:
            return {**row, "samples/s": f"- ({self.reason})"}
        growth = None
        if first is not None and first.samples_per_s:
            growth = self.samples_per_s / first.samples_per_s
        noisy = self.noise is not None and self.noise.noisy
        return {
            **row,
            "samples/s": f"{self.samples_per_s:.5g}",
            "times the first": "" if growth is None else f"{growth:.2f}",
            "call p50, ms": "-" if self.call_ms is None else f"{self.call_ms:.3f}",
            "also": ", ".join(f"{key} {value}" for key, value in self.more.items()),
            "disturbed": f"{self.noise.other_cores or 0:.2f} cores" if self.noise and noisy else "",
        }

    def to_object(self) -> Mapping[str, Any]:
        """Return everything for a report."""
        return {
            "artifact": self.artifact,
            "axis": self.axis,
            "value": self.value,
            "samples_per_s": self.samples_per_s,
            "call_ms": self.call_ms,
            "reason": self.reason,
            "more": dict(self.more),
            **(self.noise.to_object() if self.noise else {}),
        }
