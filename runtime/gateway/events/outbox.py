"""Events that wait for their sinks: on disk, or in memory while the disk fails.

Every event gets the next sequence number; a sink's cursor is the number up to which it has taken
all. Both bounds, of rows and of bytes, are kept by dropping the oldest events, and what a sink had
not taken yet is counted as dropped. Where the file cannot be written (disk full, too many open
files, file system gone) events stay in memory, bounded as well, sinks go on being served, and the
file is tried again every few seconds. A damaged file is set aside and a new one begun.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

from runtime.errors import ConfigError

from .store import Row, Store, set_aside

__all__ = ["Outbox", "OutboxOptions"]

_LOG: Final = logging.getLogger("headlight.gateway.events")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxOptions:
    """Where events wait, and how many.

    Raises:
        ConfigError: a bound below 1.
    """

    path: str = "events.sqlite"
    """The file; its folder is made. Events are a matter of people: the file has mode 0600."""
    max_rows: int = 100_000
    """Events that may wait, >= 1; then the oldest are dropped."""
    max_bytes: int = 64 << 20
    """Bytes that these may have, >= 1. The file itself is up to half as large again, and its log
    some megabytes."""
    memory_rows: int = 2_000
    """Events that may wait in memory while the file cannot be written, >= 1."""
    memory_bytes: int = 4 << 20
    """Bytes that these may have, >= 1."""
    power_safe: bool = True
    """Whether an event survives a power failure as soon as it is told; it survives the end of the
    process in any case. Costs a sync of the disk per event."""
    retry_s: float = 5.0
    """How long a file that failed is left alone, > 0, s."""

    def __post_init__(self) -> None:
        least = min(self.max_rows, self.max_bytes, self.memory_rows, self.memory_bytes)
        if not self.path or not (least >= 1 and 0 < self.retry_s < float("inf")):
            raise ConfigError(
                "the outbox needs a path, bounds of rows and bytes >= 1 and retry_s > 0, got "
                f"path {self.path!r}, rows {self.max_rows} and {self.memory_rows}, bytes "
                f"{self.max_bytes} and {self.memory_bytes}, retry_s {self.retry_s}"
            )


class Outbox:
    """See the module; any thread may call, and no call fails because of the disk.

    Args:
        options: Where and how many.
        sinks: Names of all sinks. One that is new gets all events that wait; what one that is no
            longer there has not taken is forgotten.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        options: OutboxOptions,
        sinks: Sequence[str],
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._options, self._clock = options, clock
        self._path = Path(options.path)
        self._lock = threading.Lock()
        self._store: Store | None = None
        self._memory: deque[Row] = deque()
        self._memory_bytes = 0
        self._cursors = dict.fromkeys(sinks, 0)
        self._dropped = dict.fromkeys(sinks, 0)
        self._last = 0
        self._retry_at = clock()
        self._on_disk = 0
        self._numbered = False
        self._handed: dict[str, int] = {}
        self.reason: str | None = None
        """Why events wait in memory; None while all is well."""
        self.damaged = 0
        """Files that were set aside."""
        with self._lock:
            self._ready()

    def add(self, event_id: str, payload: bytes) -> None:
        """Keep an event; on disk when this returns, unless the disk fails."""
        with self._lock:
            if self._ready() and self._to_disk([Row(self._last + 1, event_id, payload)]):
                self._last += 1
                return
            if any(row.id == event_id for row in self._memory):
                return
            self._last += 1
            self._memory.append(Row(self._last, event_id, payload))
            self._memory_bytes += len(payload)
            self._bound_memory()

    def pending(self, sink: str, limit: int) -> list[Row]:
        """Return up to ``limit`` events that the sink has not taken, oldest first."""
        with self._lock:
            self._ready()
            rows: list[Row] = []
            cursor = self._cursors[sink]
            if self._store is not None:
                try:
                    rows = self._store.after(cursor, limit)
                except sqlite3.Error as error:
                    self._fail(error)
                    return []  # what is in memory comes after what could not be read
            rows = [*rows, *(row for row in self._memory if row.seq > cursor)][:limit]
            if rows:
                self._handed[sink] = rows[-1].seq
            return rows

    def taken(self, sink: str, seq: int) -> None:
        """Note that the sink has taken, or will never take, all events up to ``seq``.

        Args:
            sink: Whose thread calls this and ``pending``.
            seq: Of an event that ``pending`` returned last.
        """
        with self._lock:
            if seq <= self._handed.get(sink, 0):
                self._cursors[sink] = max(self._cursors[sink], seq)

    def save(self) -> None:
        """Write how far sinks have come, and forget what all have taken."""
        with self._lock:
            while self._memory and self._memory[0].seq <= self._done:
                self._memory_bytes -= len(self._memory.popleft().payload)
            if not self._ready() or self._store is None:
                return
            try:
                self._store.move(self._cursors)
                self._store.forget(self._done)
            except sqlite3.Error as error:
                self._fail(error)

    def waiting(self, sink: str) -> int:
        """Return how many events the sink has not taken."""
        with self._lock:
            cursor = self._cursors[sink]
            count = sum(row.seq > cursor for row in self._memory)
            if self._store is not None:
                try:
                    count += self._store.count_after(cursor)
                except sqlite3.Error as error:
                    self._fail(error)
            return count

    def dropped(self, sink: str) -> int:
        """Return how many events were dropped before the sink had taken them, since the start."""
        with self._lock:
            return self._dropped[sink]

    def close(self) -> None:
        """Write what can be written and close the file."""
        with self._lock:
            self._retry_at = self._clock()
        self.save()
        with self._lock:
            if self._memory:
                _LOG.error("%d events were in memory only and are lost", len(self._memory))
            if self._store is not None:
                self._store.close()
                self._store = None
            self._retry_at = float("inf")

    @property
    def _done(self) -> int:
        """The sequence number up to which all sinks have taken all."""
        return min(self._cursors.values(), default=self._last)

    def _ready(self) -> bool:
        """Return whether the file takes events; brings those in memory to it when it does again."""
        if self._store is not None and self.reason is None:
            return True
        if self._clock() < self._retry_at:
            return False
        try:
            if self._store is None:
                self._open()
        except sqlite3.Error as error:
            self._fail(error)
            return False
        if self._memory and not self._to_disk(list(self._memory)):
            return False
        self._memory.clear()
        self._memory_bytes = 0
        if self.reason is not None:
            _LOG.warning("events are kept on disk again")
        self.reason = None
        return True

    def _open(self) -> None:
        try:
            store = Store(self._path, power_safe=self._options.power_safe)
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            self._set_aside(error)
            store = Store(self._path, power_safe=self._options.power_safe)
        self._on_disk = store.rows
        if not self._numbered:
            self._renumber(store)
        self._store = store

    def _renumber(self, store: Store) -> None:
        """Continue the numbers of a file that could not be read before.

        Sinks go back to where the file says they were, or they would skip what waits in it; what
        they took from memory meanwhile they get again. Their ``taken`` of numbers that were handed
        out before this is void.
        """
        ahead = store.last()
        self._memory = deque(row._replace(seq=row.seq + ahead) for row in self._memory)
        self._last += ahead
        found = store.cursors()
        self._cursors = {name: found.get(name, 0) for name in self._cursors}
        self._handed.clear()
        self._numbered = True

    def _to_disk(self, rows: Sequence[Row]) -> bool:
        store = self._store
        if store is None:
            return False
        try:
            store.add(rows)
        except sqlite3.Error as error:
            self._fail(error)
            return False
        try:
            self._bound_disk(store)
        except sqlite3.Error as error:  # they are on disk; that there are too many can wait
            self._fail(error)
        return True

    def _bound_disk(self, store: Store) -> None:
        upto = store.surplus(self._options.max_rows, self._options.max_bytes)
        if not upto:
            return
        missed = {
            name: store.count_after(cursor, upto)
            for name, cursor in self._cursors.items()
            if cursor < upto
        }
        store.forget(upto)
        for name, count in missed.items():
            self._dropped[name] += count

    def _bound_memory(self) -> None:
        options = self._options
        while self._memory and (
            len(self._memory) > options.memory_rows or self._memory_bytes > options.memory_bytes
        ):
            row = self._memory.popleft()
            self._memory_bytes -= len(row.payload)
            for name, cursor in self._cursors.items():
                self._dropped[name] += row.seq > cursor

    def _fail(self, error: sqlite3.Error) -> None:
        """Note why the file cannot be used; events go to memory until ``retry_s`` have passed."""
        reason = f"{self._path.name}: {error}"
        if reason != self.reason:
            _LOG.error("events are kept in memory: %s", reason)
        self.reason = reason
        self._retry_at = self._clock() + self._options.retry_s
        if self._store is None:
            return
        self._on_disk = self._store.rows
        if _is_damage(error):  # opening it anew finds out whether it is, and sets it aside
            self._store.close()
            self._store = None
            self._retry_at = self._clock()

    def _set_aside(self, error: sqlite3.Error) -> None:
        """Set the damaged file aside and count what was in it, as far as that is known."""
        try:
            aside = set_aside(self._path)
        except OSError as problem:
            raise sqlite3.OperationalError(problem.strerror or str(problem)) from problem
        end = self._memory[0].seq if self._memory else self._last + 1
        for name, cursor in self._cursors.items():
            self._dropped[name] += max(0, end - max(end - self._on_disk, cursor + 1))
        self.damaged += 1
        _LOG.error("%s is damaged (%s) and set aside as %s", self._path.name, error, aside.name)


def _is_damage(error: sqlite3.Error) -> bool:
    # Full disks, locks and missing files are OperationalErrors, which say nothing of the content.
    return type(error) is sqlite3.DatabaseError
