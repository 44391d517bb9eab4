"""What one camera's pipeline did since the start, in memory that does not grow."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, fields
from typing import Final

from runtime.statistics import Durations, Histogram

__all__ = ["PipelineCounts", "PipelineStatus"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineStatus:
    """Counts of one camera since the start."""

    camera: str
    frames: int = 0
    """Frames that were looked at."""
    regions: int = 0
    """Regions that were found in them."""
    reads: int = 0
    """Regions that were read."""
    outliers: int = 0
    """Readings that were left out because they contradicted their track, alone."""
    tracks: int = 0
    """Vehicles that are followed now."""
    events: int = 0
    """Vehicles that were told; each is accepted or abstained."""
    accepted: int = 0
    abstained: int = 0
    read_errors: int = 0
    """Regions that could not be read."""
    find_errors: int = 0
    """Regions of a detector that were none, and calls of it that failed."""
    find_late: int = 0
    """Calls of a detector that took longer than their budget."""
    step_errors: int = 0
    """Frames that were given up because of an error that nobody foresaw."""
    overflows: int = 0
    """Regions that were left out because too many vehicles were followed."""
    busy_s: float = 0.0
    """For how long the frame at hand is being worked on; 0 while waiting for one."""
    last_error: str | None = None
    find: Durations = field(default_factory=Durations)
    """Per frame: the finder."""
    latency: Durations = field(default_factory=Durations)
    """Per event that was told while the vehicle was seen: from the arrival of the frame that
    decided to the event."""


_OTHERS: Final = ("tracks", "overflows")
_COUNTED: Final = tuple(f.name for f in fields(PipelineStatus) if f.type == "int")


class PipelineCounts:
    """Collects what ``PipelineStatus`` shows; any thread may call.

    Args:
        camera: Whose they are.
    """

    def __init__(self, camera: str) -> None:
        self._camera = camera
        self._lock = threading.Lock()
        self._counts = dict.fromkeys((name for name in _COUNTED if name not in _OTHERS), 0)
        self._find, self._latency = Histogram(), Histogram()
        self._last_error: str | None = None

    def count(self, **numbers: int) -> None:
        """Add to counters; the names are those of ``PipelineStatus``."""
        with self._lock:
            for name, number in numbers.items():
                self._counts[name] += number

    def count_find(self, duration_ns: int) -> None:
        """Count what a finder took."""
        with self._lock:
            self._find.add(duration_ns)

    def count_latency(self, duration_ns: int) -> None:
        """Count the latency of an event."""
        with self._lock:
            self._latency.add(duration_ns)

    def fail(self, counter: str, text: str, count: int) -> bool:
        """Count errors and return whether the last ones had another text."""
        with self._lock:
            self._counts[counter] += count
            news = text != self._last_error
            self._last_error = text
            return news

    def read(self, *, tracks: int, overflows: int, busy_s: float) -> PipelineStatus:
        """Return all of it, with what the pipeline knows itself."""
        with self._lock:
            return PipelineStatus(
                camera=self._camera,
                **self._counts,
                tracks=tracks,
                overflows=overflows,
                busy_s=busy_s,
                last_error=self._last_error,
                find=self._find.read(),
                latency=self._latency.read(),
            )
