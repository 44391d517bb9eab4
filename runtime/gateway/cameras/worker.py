"""The thread of a camera: connects, reads, offers pictures, and connects again.

It knows nothing of the ``Camera`` in front of it, so that one that is forgotten can end it.
"""

from __future__ import annotations

import logging
import threading
import traceback
from typing import Final

from runtime.errors import HeadlightError

from .addresses import scrubbed
from .gate import DamageGate
from .options import CameraOptions
from .pace import Backoff
from .play import Play
from .slot import Slot
from .source import Broken, End, Opener, Recovery, Source
from .status import Tally

__all__ = ["Worker"]

_GOOD_RUN_S: Final = 5.0
"""A connection that held for that long was no accident; the next wait is the first again."""


class Worker:
    """Fills a slot with the pictures of a camera until it is told to stop.

    Args:
        options: The camera.
        tally: Where to count.
        slot: Where to put pictures.
        log: Told when the state changes; never a login.
        opener: Opens the camera's address.
    """

    def __init__(
        self,
        options: CameraOptions,
        tally: Tally,
        slot: Slot,
        *,
        log: logging.Logger,
        opener: Opener,
    ) -> None:
        self._options = options
        self._live = options.kind.live
        self._tally = tally
        self._slot = slot
        self._log = log
        self._opener = opener
        self._backoff = Backoff(options.retry_first_s, options.retry_most_s)
        self._gate = DamageGate(
            tally,
            hold=options.hold_after_error,
            gaps=self._live and options.hold_after_gap and not options.keyframes_only,
        )
        self._stopping = threading.Event()
        self._connections = 0

    def stop(self) -> None:
        """Have the thread end as soon as it is out of the library's hands."""
        self._stopping.set()
        self._slot.close(drop=True)

    def run(self) -> None:
        """Work until there is nothing left to do; the thread's target."""
        try:
            while not self._stopping.is_set():
                try:
                    wait_s = self._connect_and_play()
                except MemoryError:  # also in the middle of telling another error
                    wait_s = self._after("there is not enough memory", Recovery.SOON)
                if wait_s is None:
                    break
                self._stopping.wait(wait_s)
        finally:
            if not (self._tally.over or self._stopping.is_set()):
                self._enter("failed", "its thread ended; see the log")
            self._slot.close(drop=False)

    def _connect_and_play(self) -> float | None:
        """Use one connection; returns how long to wait before the next, None if there is none."""
        began = self._tally.read().frames
        try:
            self._play()
        except End:
            return self._at_end(any_usable=self._tally.read().frames > began)
        except Broken as broken:
            return self._after(broken.reason, broken.recovery)
        except HeadlightError as error:  # a password that cannot be read, a package that is missing
            return self._after(str(error), Recovery.LATER)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 a camera must not die of one odd stream
            self._log.error("%s: %s", self._options.name, self._told(error))
            return self._after(f"unexpected {type(error).__name__}; see the log", Recovery.LATER)
        return None

    def _told(self, error: Exception) -> str:
        """Return where an error came from, without the login that it may hold."""
        try:
            url = self._options.full_url()
        except HeadlightError:  # then nothing has been opened with a password either
            url = self._options.url
        return scrubbed("".join(traceback.format_exception(error)), url)

    def _play(self) -> None:
        source = self._opener(self._options)
        try:
            self._connections += 1
            if self._live and self._connections > 1:
                self._tally.add("reconnects")
            self._gate.restart()
            play = Play(self._options, source, self._gate, self._tally, self._slot)
            play.run(self._stopping, self._running)
        finally:
            source.close()

    def _running(self, source: Source, seconds: float) -> None:
        """Note a usable picture, so many seconds after the connection was made."""
        if seconds > _GOOD_RUN_S:
            self._backoff.reset()
        if self._tally.enter("running"):
            self._log.info(
                "%s: running: %s from %s",
                self._options.name,
                source.description,
                self._options.shown_url,
            )

    def _at_end(self, *, any_usable: bool) -> float | None:
        if self._live:
            return self._after("the camera ended the stream", Recovery.SOON)
        if not any_usable:
            self._enter("failed", "it holds no usable picture")
            return None
        if self._options.loop:
            return 0.0
        self._enter("ended", "the file was played to its end")
        return None

    def _after(self, reason: str, recovery: Recovery) -> float | None:
        """Go on after a source broke; returns how long to wait."""
        if recovery is Recovery.NEVER:
            self._enter("failed", reason)
            return None
        self._enter("retrying", reason)
        if recovery is Recovery.LATER:
            return self._options.refused_retry_s
        return self._backoff.wait_s()

    def _enter(self, state: str, reason: str) -> None:
        # Once, not with every attempt: a camera may be away for weeks.
        if self._tally.enter(state, reason):
            level = logging.INFO if state == "ended" else logging.WARNING
            self._log.log(level, "%s: %s: %s", self._options.name, state, reason)
