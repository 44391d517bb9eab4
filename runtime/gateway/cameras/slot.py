"""A place for one picture between a camera's thread and whoever takes its pictures."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime
from time import monotonic

from .source import Picture
from .status import Tally

__all__ = ["Offer", "Slot"]


@dataclass(frozen=True, slots=True)
class Offer:
    """A picture that may be taken."""

    picture: Picture
    number: int
    arrived_ns: int
    arrived: datetime


class Slot:
    """Holds the newest picture; one that was not taken by then makes room for it.

    Args:
        tally: Told whether one waits.
    """

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._offer: Offer | None = None
        self._changed = threading.Condition()
        self._closed = False

    def put(self, offer: Offer) -> None:
        """Offer a picture; nothing happens after ``close``."""
        with self._changed:
            if not self._closed:
                self._offer = offer
                self._tally.offered(1)
                self._changed.notify_all()

    def wait_empty(self) -> None:
        """Wait until the picture was taken, or the slot was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._offer is None or self._closed)

    def take(self, timeout_s: float) -> Offer | None:
        """Wait for a picture and take it; None after ``timeout_s``, at once when none will come."""
        deadline_s = monotonic() + timeout_s
        with self._changed:
            while self._offer is None:
                left_s = deadline_s - monotonic()
                if left_s <= 0 or self._closed:
                    return None
                self._changed.wait(left_s)
            offer, self._offer = self._offer, None
            self._tally.offered(0)
            self._changed.notify_all()
            return offer

    def close(self, *, drop: bool) -> None:
        """Let nothing more in; what waits can still be taken unless it is dropped."""
        with self._changed:
            self._closed = True
            if drop:
                self._offer = None
                self._tally.offered(0)
            self._changed.notify_all()
