"""When things happen: pictures at most so often, files at their own pace, connections again."""

from __future__ import annotations

import random
from time import monotonic
from typing import Final

__all__ = ["Backoff", "Playback", "RateLimit"]

_LONGEST_PAUSE_S: Final = 60.0
"""Between two pictures of a file; whatever is longer is a mistake in its time stamps."""


class RateLimit:
    """Admits pictures evenly, at a given rate at most.

    Args:
        fps: Pictures per second; 0: all.
    """

    def __init__(self, fps: float) -> None:
        self._interval_s = 1 / fps if fps else 0.0
        self._due_s: float | None = None

    def admit(self, now_s: float) -> bool:
        """Return whether the picture of this moment is one to offer."""
        due_s, interval_s = self._due_s, self._interval_s
        ahead_s = 0.0 if due_s is None else due_s - now_s
        # Half an interval of grace: 15 of 15 pictures that come a little early or late are 15.
        if interval_s / 2 < ahead_s <= 2 * interval_s:
            return False
        # From when it was due, so that 10 of 25 pictures are 10; from now after a pause or a jump.
        kept = due_s is not None and abs(ahead_s) <= interval_s
        self._due_s = (due_s if kept and due_s is not None else now_s) + interval_s
        return True


class Playback:
    """The clock by which a file plays."""

    def __init__(self) -> None:
        self._offset_s: float | None = None
        self._last_s = 0.0

    def delay_s(self, time_s: float | None) -> float:
        """Return how long to wait before the picture of this place in the file, >= 0."""
        if time_s is None:
            return 0.0
        now_s = monotonic()
        jumped = not 0 <= time_s - self._last_s <= _LONGEST_PAUSE_S
        if self._offset_s is None or jumped:
            self._offset_s = now_s - time_s
        self._last_s = time_s
        return max(0.0, self._offset_s + time_s - now_s)


class Backoff:
    """Waits that double, each shortened at random so that cameras do not come back in step.

    Args:
        first_s: The first wait.
        most_s: The longest.
    """

    def __init__(self, first_s: float, most_s: float) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._next_s = first_s
        self._random = random.Random()

    def wait_s(self) -> float:
        """Return the next wait: between half of it and all of it."""
        wait_s, self._next_s = self._next_s, min(2 * self._next_s, self._most_s)
        return wait_s * self._random.uniform(0.5, 1)

    def reset(self) -> None:
        """Begin with the first wait again."""
        self._next_s = self._first_s
