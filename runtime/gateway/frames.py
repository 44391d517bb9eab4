"""One picture of a camera, and when it came."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from runtime.arrays import Image

__all__ = ["Frame"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A picture that arrived undamaged."""

    camera: str
    """The camera's name."""
    image: Image = field(repr=False)
    """(H, W, 3) uint8 BGR; the receiver's own."""
    number: int
    """Counts the camera's undamaged pictures from 0, over all its connections; where it jumps,
    pictures were skipped because nobody took them in time."""
    arrived_ns: int
    """``time.monotonic_ns`` at which it had arrived and was decoded; latencies count from here."""
    arrived: datetime
    """The same moment in UTC, by a clock that may be set while the camera runs."""
