"""Decoding pictures of files: what a gateway that is sent JPEGs does before it can read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.budget import Measurement
from benchmarks.noise import Noise
from benchmarks.scenarios import Latency, single_stream
from runtime.arrays import Image

from .finding import Finding, of_latency, percentile_rows

__all__ = ["PictureFinding", "measure_pictures"]


@dataclass(frozen=True, slots=True)
class PictureFinding(Finding):
    """Time from the bytes of a file to its picture; part of no other time."""

    decode: Latency | None
    """None: there were no files."""

    @property
    def noises(self) -> Sequence[Noise]:
        """See ``Finding``."""
        return [self.decode.noise] if self.decode else []

    @property
    def times_ns(self) -> Mapping[str, npt.NDArray[np.int64]]:
        """See ``Finding``."""
        return {"decode picture": self.decode.queries_ns} if self.decode else {}

    def rows(self) -> Mapping[str, str]:
        """See ``Finding``."""
        return percentile_rows("decode picture", self.decode) if self.decode else {}

    def measurements(self) -> list[Measurement]:
        """See ``Finding``."""
        if self.decode is None:
            return []
        return of_latency("latency.picture_ms", "single-stream", self.decode)

    def to_object(self) -> Mapping[str, Any]:
        """See ``Finding``."""
        told = self.decode.to_object() if self.decode else None
        reason = None if self.decode else "no picture files; give some with --data"
        return {"picture_decode": told, "no_picture_decode": reason}


def measure_pictures(decoders: Sequence[Callable[[], Image]], duration_s: float) -> PictureFinding:
    """Time decoding one picture after the other, round and round.

    Args:
        decoders: Each returns one picture from bytes that are in memory.
        duration_s: Least time.
    """
    if not decoders:
        return PictureFinding(None)
    turns = cycle(decoders)
    return PictureFinding(single_stream(lambda: next(turns)(), min_duration_s=duration_s))
