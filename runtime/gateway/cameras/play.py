"""What happens to the pictures of one connection, until it breaks, ends or is stopped."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from threading import Event
from time import monotonic, monotonic_ns

from .frozen import FrozenWatch
from .gate import DamageGate
from .options import CameraOptions
from .pace import Playback, RateLimit
from .slot import Offer, Slot
from .source import Broken, Picture, Source
from .status import Tally

__all__ = ["Play"]


class Play:
    """One open source on its way into the slot.

    Args:
        options: The camera.
        source: Read from; closed by whoever opened it.
        gate: Keeps damaged pictures back.
        tally: Where to count.
        slot: Where to put pictures.
    """

    def __init__(
        self,
        options: CameraOptions,
        source: Source,
        gate: DamageGate,
        tally: Tally,
        slot: Slot,
    ) -> None:
        self._options = options
        self._live = options.kind.live
        self._source = source
        self._gate = gate
        self._tally = tally
        self._slot = slot
        self._frozen = FrozenWatch(options.frozen_s if self._live else 0)
        self._limit = RateLimit(options.fps)
        self._playback = Playback()

    def run(self, stopping: Event, usable: Callable[[Source, float], None]) -> None:
        """Offer pictures until the source ends.

        Args:
            stopping: Set when the camera is to stop.
            usable: Told of each usable picture, and the seconds since the connection was made.

        Raises:
            End: there are no more pictures.
            Broken: the source broke, or gives nothing that could be used.
        """
        began_s = usable_s = monotonic()
        while not stopping.is_set():
            for picture in self._gate.usable(self._source.read()):
                self._await_turn(picture, stopping)
                if stopping.is_set():
                    return
                usable_s = monotonic()
                number = self._tally.arrive(monotonic_ns(), picture.size)
                usable(self._source, usable_s - began_s)
                self._offer(picture, number, usable_s)
            limit_s = self._options.damaged_s
            overdue = self._live and monotonic() - usable_s > limit_s
            if overdue and not self._gate.trust(limit_s):
                raise Broken(f"data come, but no usable picture for {limit_s:g} s")

    def _await_turn(self, picture: Picture, stopping: Event) -> None:
        """Wait until a picture of a file is due, by its time or by who takes them."""
        if self._live:
            return
        if self._options.realtime:
            stopping.wait(self._playback.delay_s(picture.time_s))
        else:
            self._slot.wait_empty()

    def _offer(self, picture: Picture, number: int, now_s: float) -> None:
        if self._frozen.frozen(picture, now_s):
            raise Broken(f"the picture has not changed for {self._options.frozen_s:g} s")
        clock_s = now_s if self._options.realtime else picture.time_s
        if clock_s is None or self._limit.admit(clock_s):
            offer = Offer(picture, number, monotonic_ns(), datetime.now(timezone.utc))
            self._slot.put(offer)
