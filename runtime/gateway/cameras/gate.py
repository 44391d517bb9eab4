"""Which pictures may leave a camera: none that is damaged, or built on what is missing.

Most wrong pictures are not flagged: FFmpeg flags the one with the flipped bit, not those predicted
from it, and where whole access units are lost it flags none. So whatever goes wrong keeps pictures
back until the next keyframe. What that misses was measured: docs/cameras.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from statistics import median_low
from time import monotonic
from typing import Final

from .source import Arrival, Picture
from .status import Tally

__all__ = ["DamageGate", "GapCounter"]

_LAG: Final = 1.6
"""Pictures come at most this many usual intervals after the one before."""
_USUAL_OF: Final = 15
_MOST_PENDING: Final = 16
"""Pictures that may refer to one after them; more than H.264 and H.265 allow are not there."""


class GapCounter:
    """Finds time stamps that are missing, by the median of the last intervals."""

    def __init__(self) -> None:
        self._last_s: float | None = None
        self._intervals: deque[float] = deque(maxlen=_USUAL_OF)

    @property
    def usual_s(self) -> float:
        """The usual interval; 0 before it is known."""
        return median_low(self._intervals) if self._intervals else 0.0

    def restart(self) -> None:
        """Begin with another connection of the same camera, whose rate is known."""
        self._last_s = None

    def add(self, time_s: float | None) -> bool:
        """Take the next picture's time; returns whether some are missing in front of it."""
        if time_s is None:
            return False
        last_s, self._last_s = self._last_s, time_s
        if last_s is None:
            return False
        interval = time_s - last_s
        usual = self.usual_s or interval
        self._intervals.append(interval)
        return not 0 < interval <= _LAG * usual


class DamageGate:
    """Lets undamaged pictures through, and counts the others.

    Args:
        tally: Where to count.
        hold: After an error let nothing through until the next keyframe.
        gaps: Whether a missing time stamp is an error.
    """

    def __init__(self, tally: Tally, *, hold: bool, gaps: bool) -> None:
        self._tally = tally
        self._hold = hold
        self._gaps = gaps
        self._counter = GapCounter()
        self._pending: list[Picture] = []
        self._holding = hold
        self._error_s: float | None = None
        self._next_suspect = False
        self._damaged_s = monotonic()

    def restart(self) -> None:
        """Begin with another connection."""
        # Whoever comes in between two keyframes sees nothing whole before the next one.
        self._holding = self._hold
        self._error_s = None
        self._next_suspect = False
        self._damaged_s = monotonic()
        self._pending.clear()
        self._counter.restart()

    def usable(self, arrival: Arrival) -> Iterator[Picture]:
        """Yield the pictures that may leave now."""
        if arrival.decode_errors:
            self._tally.add("decode_errors", arrival.decode_errors)
        if arrival.losses:
            self._tally.add("gaps", arrival.losses)
        if arrival.decode_errors or arrival.losses:
            self._damage()
        # A keyframe from before the error may still be in the decoder; and a loss is known when its
        # packet is read, which is a piece too early: the parser keeps one back. The next piece is
        # not always the next picture's: that one may be lost as a whole.
        suspect = arrival.decode_errors or arrival.losses or self._next_suspect
        if suspect and arrival.time_s is not None:
            self._error_s = max(arrival.time_s, self._error_s or arrival.time_s)
        self._next_suspect = arrival.losses > 0
        for picture in arrival.pictures:
            if self._passes(picture, broken=arrival.decode_errors > 0):
                yield from self._released(picture)

    def _passes(self, picture: Picture, *, broken: bool) -> bool:
        if self._counter.add(picture.time_s) and self._gaps:
            self._tally.add("gaps")
            self._damage()
        if picture.corrupt:
            self._tally.add("corrupt")
            self._damage()
            return False
        late = self._error_s is None or picture.time_s is None or picture.time_s > self._error_s
        if picture.key and late and not broken:
            self._holding, self._error_s = False, None
        if self._holding:
            self._tally.add("withheld")
        return not self._holding

    def _released(self, picture: Picture) -> Iterator[Picture]:
        """Yield a picture and those before it that had to wait for it."""
        self._pending.append(picture)
        if not (self._hold and picture.waits):
            yield from self._pending
            self._pending.clear()
        elif len(self._pending) > _MOST_PENDING:
            yield self._pending.pop(0)

    def _damage(self) -> None:
        self._damaged_s = monotonic()
        self._holding = self._hold
        self._tally.add("withheld", len(self._pending))
        self._pending.clear()

    def trust(self, seconds: float) -> bool:
        """Let pictures through if there was no error for so long, although no keyframe came.

        Streams that refresh a stripe at a time have none, and are whole again long before.

        Returns:
            Whether it does.
        """
        if monotonic() - self._damaged_s < seconds:
            return False
        self._holding = False
        return True
