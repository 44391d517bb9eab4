"""One camera: a thread that keeps its newest picture at hand."""

from __future__ import annotations

import logging
import threading
import weakref
from time import monotonic
from types import TracebackType
from typing import Final

from runtime.errors import ConfigError, ImageError
from runtime.gateway.frames import Frame

from .opening import needs_av, open_source
from .options import CameraOptions
from .slot import Slot
from .source import Opener, import_av
from .status import CameraStatus, Tally
from .worker import Worker

__all__ = ["Camera"]

_LOG: Final = logging.getLogger("headlight.gateway.cameras")
_STOP_S: Final = 5.0


class Camera:
    """Hands out the newest picture of a camera; comes back by itself whatever happens to it.

    ::

        with Camera(CameraOptions(name="gate", url="rtsp://10.0.0.7/stream1")) as camera:
            while (frame := camera.take(1.0)) or not camera.over:
                ...

    Any thread may call any method. A picture is handed out once; it is turned into an image by the
    thread that takes it, so that one which nobody takes costs no more than its decoding.

    Args:
        options: Where it is, and how pictures are taken.
        log: For changes of state; ``headlight.gateway.cameras`` if not given.
        opener: Instead of opening the address.

    Raises:
        ConfigError: the password cannot be read.
        MissingExtraError: PyAV is needed and not installed.
    """

    def __init__(
        self,
        options: CameraOptions,
        *,
        log: logging.Logger | None = None,
        opener: Opener = open_source,
    ) -> None:
        options.full_url()
        if opener is open_source and needs_av(options):
            import_av()
        self._options = options
        self._tally = Tally(options.name, options.shown_url, quiet_s=_quiet_s(options))
        self._slot = Slot(self._tally)
        self._log = log or _LOG
        worker = Worker(options, self._tally, self._slot, log=self._log, opener=opener)
        self._worker = worker
        # A daemon: a call into FFmpeg or a driver that never returns must not hold the process.
        self._thread = threading.Thread(
            target=worker.run, name=f"camera-{options.name}", daemon=True
        )
        # When it is forgotten, or the interpreter ends: a thread in a library can crash then.
        self._at_exit = weakref.finalize(self, _end, worker, self._thread)

    @property
    def name(self) -> str:
        """What it is called."""
        return self._options.name

    @property
    def over(self) -> bool:
        """Whether it ended, stopped or failed; one picture may still wait to be taken."""
        return self._tally.over

    def start(self) -> None:
        """Begin to connect; returns at once.

        Raises:
            ConfigError: it was started before; make another.
        """
        if self._thread.ident is not None or self._tally.over:
            raise ConfigError(f"camera {self.name} was started before; make another Camera")
        self._thread.start()

    def take(self, timeout_s: float) -> Frame | None:
        """Wait for a picture newer than the last one taken, and take it.

        Args:
            timeout_s: Longest wait, >= 0.

        Returns:
            The newest picture; None when none came in time, at once when none will come any more.
        """
        deadline_s = monotonic() + timeout_s
        while (offer := self._slot.take(deadline_s - monotonic())) is not None:
            try:
                image = offer.picture.image()
            except (ImageError, MemoryError) as error:
                self._tally.add("decode_errors")
                self._log.debug("%s: %s", self.name, error)
                continue
            self._tally.add("taken")
            return Frame(
                camera=self.name,
                image=image,
                number=offer.number,
                arrived_ns=offer.arrived_ns,
                arrived=offer.arrived,
            )
        return None

    def status(self) -> CameraStatus:
        """Return state and counters as they are now."""
        return self._tally.read()

    def stop(self, timeout_s: float = _STOP_S) -> bool:
        """End the thread; a second call does nothing more.

        Args:
            timeout_s: Longest wait for it. A read that waits for data ends after ``stall_s`` at the
                latest, a connection after ``connect_s``; drivers and name servers may take longer.

        Returns:
            False if the thread was left behind: it ends when its call returns, and touches nothing
            of this camera any more.
        """
        self._worker.stop()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        ended = not self._thread.is_alive()
        self._tally.enter("stopped", "" if ended else "its thread hangs in a call; left behind")
        self._tally.leave_behind(not ended)
        return ended

    def __enter__(self) -> Camera:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _quiet_s(options: CameraOptions) -> float:
    """Return after which time without a picture a running camera is stalled; 0: never."""
    if not options.kind.live:
        return 0.0
    # Keyframes are seconds apart; that data come is watched all the same.
    return options.damaged_s if options.keyframes_only else options.stall_s


def _end(worker: Worker, thread: threading.Thread) -> None:
    worker.stop()
    if thread.ident is not None and thread is not threading.current_thread():
        thread.join(1.0)
