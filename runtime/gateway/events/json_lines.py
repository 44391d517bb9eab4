"""Events as lines of JSON in a file that is rotated by size."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

from runtime.errors import ConfigError, DeliveryError

__all__ = ["JsonLines", "JsonLinesOptions"]

_FSYNC: Final = ("always", "interval", "never")
_TAIL_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonLinesOptions:
    """A file of events.

    Raises:
        ConfigError: no path, or a value out of range.
    """

    path: str
    """Of the file; its folder is made. It has mode 0600, as it may hold number plates."""
    name: str = "file"
    """Of the sink."""
    max_bytes: int = 64 << 20
    """A file that would grow beyond becomes ``PATH.1``, what was that ``PATH.2``; >= 1."""
    keep: int = 4
    """Files that are kept besides the one that is written, >= 0."""
    fsync: str = "always"
    """``always``: an event counts as delivered when it is on the disk. ``interval``: synced once
    per ``fsync_s``. ``never``: whenever the system likes. With the last two, a power failure may
    take the last events."""
    fsync_s: float = 5.0
    """> 0, s."""

    def __post_init__(self) -> None:
        if not self.path or not self.name or self.fsync not in _FSYNC:
            raise ConfigError(
                f"a file of events needs a path, a name and fsync of {_FSYNC}, got "
                f"{self.path!r}, {self.name!r} and {self.fsync!r}"
            )
        if not (self.max_bytes >= 1 and self.keep >= 0 and 0 < self.fsync_s < float("inf")):
            raise ConfigError(
                f"{self.path}: max_bytes must be >= 1, keep >= 0 and fsync_s > 0, got "
                f"{self.max_bytes}, {self.keep} and {self.fsync_s}"
            )


class JsonLines:
    """Appends whole lines only: what a crash or a full disk left of a line is cut off."""

    def __init__(self, options: JsonLinesOptions) -> None:
        self.name = options.name
        self._options = options
        self._path = Path(options.path)
        self._handle: int | None = None
        self._size = 0
        self._synced_s = monotonic()

    def deliver(self, event_id: str, payload: bytes) -> None:  # noqa: ARG002 - it is in the payload
        """Append the event.

        Raises:
            DeliveryError: the file cannot be written.
        """
        line = payload + b"\n"
        try:
            handle = self._open() if self._handle is None else self._handle
            if self._size and self._size + len(line) > self._options.max_bytes:
                self._rotate()
                handle = self._open()
            self._append(handle, line)
        except OSError as error:
            self._give_up()
            raise DeliveryError(f"{self._path}: {error.strerror or error}") from error

    def _open(self) -> int:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._handle = handle
        self._size = _whole_lines(handle)
        os.ftruncate(handle, self._size)
        return handle

    def _append(self, handle: int, line: bytes) -> None:
        written = 0
        while written < len(line):
            written += os.pwrite(handle, line[written:], self._size + written)
        now_s = monotonic()
        late = now_s - self._synced_s >= self._options.fsync_s
        if self._options.fsync == "always" or (self._options.fsync == "interval" and late):
            os.fsync(handle)
            self._synced_s = now_s
        self._size += len(line)

    def _rotate(self) -> None:
        self.close()
        names = [self._path, *(self._numbered(n) for n in range(1, self._options.keep + 1))]
        names[-1].unlink(missing_ok=True)
        for older, newer in zip(reversed(names), reversed(names[:-1]), strict=False):
            if newer.exists():
                newer.replace(older)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _give_up(self) -> None:
        """Cut off what was written of a line, as far as the disk lets us, and close."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        try:
            os.ftruncate(handle, self._size)
        except OSError:
            pass  # opening it anew cuts it off
        finally:
            os.close(handle)

    def interrupt(self) -> None:
        """Nothing here waits for long."""

    def close(self) -> None:
        """Close the file; only the thread that delivers may."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        try:
            if self._options.fsync != "never":
                os.fsync(handle)
        finally:
            os.close(handle)


def _whole_lines(handle: int) -> int:
    """Return the length of a file up to the end of its last whole line."""
    end = os.fstat(handle).st_size
    while end > 0:
        start = max(0, end - _TAIL_BYTES)
        found = os.pread(handle, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
