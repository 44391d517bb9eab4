"""Hands every event to every sink: at least once, in order, however long a sink was away.

One thread per sink takes events from the outbox. A sink that fails is tried again after a time
that doubles from try to try, times a random share of it ("full jitter": Brooker, "Exponential
Backoff And Jitter", AWS Architecture Blog, 2015), so that a hundred gateways do not come back to
their broker at once.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from time import monotonic
from types import TracebackType
from typing import Final, Protocol

from runtime.errors import ConfigError, DeliveryError, RejectedError

from .event import Event
from .outbox import Outbox, OutboxOptions
from .status import SinkStatus

__all__ = ["Publisher", "Sink"]

_LOG: Final = logging.getLogger("headlight.gateway.events")
_BATCH: Final = 8
"""Events between two notes of how far a sink has come; what is lost of these is sent again."""
_FIRST_RETRY_S: Final = 0.5
_LOOK_S: Final = 5.0
"""Sinks look for events that often, also when nobody says that there are any; this is also what
tries a disk again that failed."""


class Sink(Protocol):
    """Where events go; one thread at a time calls ``deliver``."""

    @property
    def name(self) -> str:
        """Tells sinks of one gateway apart; the outbox knows it by this name."""

    def deliver(self, event_id: str, payload: bytes) -> None:
        """Return once the event is where it should be.

        Args:
            event_id: The same for the same event, which may be delivered twice.
            payload: The event as JSON, UTF-8.

        Raises:
            RejectedError: the event will never be taken.
            DeliveryError: it may be taken later.
        """

    def interrupt(self) -> None:
        """Have a ``deliver`` that waits in another thread fail soon; all later ones, too."""

    def close(self) -> None:
        """Give up everything; called once, by the thread that delivers."""


@dataclass(slots=True)
class _Progress:
    delivered: int = 0
    rejected: int = 0
    failing_since: datetime | None = None
    last_error: str | None = None


class Publisher:
    """Owns the outbox and the sinks, and closes both.

    Args:
        options: The outbox'.
        sinks: With different names. None: events are not kept.
        retry_max_s: The longest time between two tries, s.
        clock: Seconds that only grow.

    Raises:
        ConfigError: two sinks of one name.
    """

    def __init__(
        self,
        options: OutboxOptions,
        sinks: Sequence[Sink],
        *,
        retry_max_s: float = 30.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        names = [sink.name for sink in sinks]
        if len(set(names)) < len(names):
            raise ConfigError(f"sinks must have different names, got {names}")
        self._sinks = list(sinks)
        self._retry_max_s = retry_max_s
        self._look_s = min(_LOOK_S, options.retry_s)
        self._progress = {name: _Progress() for name in names}
        self._outbox = Outbox(options, names, clock=clock) if sinks else None
        self._news = {name: threading.Event() for name in names}
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(sink,), name=f"sink-{sink.name}", daemon=True)
            for sink in sinks
        ]

    def start(self) -> None:
        """Begin to deliver, first what waits from before."""
        for thread in self._threads:
            thread.start()

    def publish(self, event: Event) -> None:
        """Keep an event for all sinks; on disk when this returns, unless the disk fails."""
        if self._outbox is None or self._stopping.is_set():
            return
        self._outbox.add(event.id, event.to_json())
        for news in self._news.values():
            news.set()

    def status(self) -> list[SinkStatus]:
        """Return how each sink is doing."""
        if self._outbox is None:
            return []
        return [
            SinkStatus(
                name=name,
                waiting=self._outbox.waiting(name),
                delivered=progress.delivered,
                dropped=self._outbox.dropped(name),
                rejected=progress.rejected,
                failing_since=progress.failing_since,
                last_error=progress.last_error,
            )
            for name, progress in self._progress.items()
        ]

    @property
    def reason(self) -> str | None:
        """Why events are not kept on disk; None while they are."""
        return None if self._outbox is None else self._outbox.reason

    def close(self, *, drain_s: float = 2.0) -> None:
        """Stop; what waits is delivered by the next gateway that opens the outbox.

        Args:
            drain_s: How long sinks that work may go on with what waits.
        """
        end = monotonic() + drain_s
        while self._threads and self._threads[0].is_alive() and monotonic() < end:
            if all(s.failing_since or not s.waiting for s in self.status()):
                break
            self._stopping.wait(0.02)
        self._stopping.set()
        for news in self._news.values():
            news.set()
        for sink in self._sinks:
            sink.interrupt()
        for sink, thread in zip(self._sinks, self._threads, strict=True):
            if thread.ident is None:  # it never began, and so will not close its sink
                sink.close()
            else:
                thread.join(max(1.0, end - monotonic()))
        if self._outbox is not None:
            self._outbox.close()

    def __enter__(self) -> Publisher:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self, sink: Sink) -> None:
        news, failures = self._news[sink.name], 0
        while not self._stopping.is_set():
            news.clear()
            try:
                more = self._deliver_batch(sink)
            except Exception as error:  # noqa: BLE001 - a sink may be anybody's; others go on
                failures += 1
                self._note_failure(sink.name, error)
                self._stopping.wait(_retry_s(failures, self._retry_max_s))
                continue
            failures = 0
            if not more:
                news.wait(self._look_s)
        try:
            sink.close()
        except Exception as error:  # noqa: BLE001 - as above
            self._note_failure(sink.name, error)

    def _deliver_batch(self, sink: Sink) -> bool:
        """Deliver what waits, up to a batch, and return whether there was any."""
        outbox, progress = self._outbox, self._progress[sink.name]
        assert outbox is not None
        rows = outbox.pending(sink.name, _BATCH)
        try:
            for row in rows:
                if self._stopping.is_set():
                    break
                try:
                    sink.deliver(row.id, row.payload)
                    progress.delivered += 1
                except RejectedError as error:
                    progress.rejected += 1
                    progress.last_error = str(error)
                    _LOG.error("sink %s: event %s is refused: %s", sink.name, row.id, error)
                outbox.taken(sink.name, row.seq)
                self._note_success(sink.name)
        finally:
            if rows:
                outbox.save()
        return bool(rows)

    def _note_failure(self, name: str, error: Exception) -> None:
        progress = self._progress[name]
        # What others raise may say more than a log should hold.
        told = isinstance(error, DeliveryError)
        reason = str(error) if told else f"unexpected {type(error).__name__}"
        if progress.failing_since is None:
            progress.failing_since = datetime.now(timezone.utc)
            _LOG.warning("sink %s takes no events: %s", name, reason)
        progress.last_error = reason

    def _note_success(self, name: str) -> None:
        progress = self._progress[name]
        if progress.failing_since is not None:
            progress.failing_since = None
            _LOG.info("sink %s takes events again", name)


def _retry_s(failures: int, most_s: float) -> float:
    """Return how long to wait after so many failures in a row, s."""
    longest = min(most_s, _FIRST_RETRY_S * 2.0 ** min(failures - 1, 16))
    # Not below a tenth: no jitter may turn into a busy loop.
    return longest * random.uniform(0.1, 1.0)
