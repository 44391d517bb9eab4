"""Pictures of what was read: kept for a while, within bounds, and really deleted.

A picture lies below a folder per UTC day, under a name that begins with its time, so that names in
order are pictures in order of age: ``2026-11-21/084512.034567-EVENT.jpg``. Age is counted from
that name: a gateway that starts without knowing the time (1970) deletes nothing until it knows,
and pictures from the future, after a clock that ran ahead, go when their time comes or room is
short. Nothing but files of such names is ever deleted.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from runtime.arrays import Image
from runtime.errors import ConfigError

__all__ = [
    "PictureOptions",
    "PictureStatus",
    "Pictures",
    "jpeg",
    "scaled_down",
    "surroundings",
    "utc_now",
]

_LOG: Final = logging.getLogger("headlight.gateway.pictures")
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
_NAME: Final = re.compile(r"(\d{6}\.\d{6})-[0-9a-f-]{36}\.jpg(\.partial)?")
_SPARE: Final = 0.95
"""Deletion for lack of room goes down to this share of the cap, so that it is not done for every
picture."""
_LONGEST_LOOK_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureOptions:
    """Whether pictures are kept, where and for how long.

    Raises:
        ConfigError: a value out of range.
    """

    folder: str = ""
    """Where to keep them; empty: nowhere. Folders have mode 0700, files 0600."""
    quality: int = 85
    """Of the JPEGs, 1 to 100."""
    margin: float = 0.5
    """How much is seen around a region, as a share of its size, in [0, 10]."""
    largest_px: int = 640
    """Longer sides are scaled down to this, 32 to 16384, px. One such picture is in memory for
    every vehicle in sight that was not told yet."""
    keep_hours: float = 24.0
    """Pictures are deleted when they are older, > 0, h."""
    max_bytes: int = 1 << 30
    """The oldest are deleted when all together have more, >= 1."""

    def __post_init__(self) -> None:
        fits = 1 <= self.quality <= 100 and 0 <= self.margin <= 10 and self.max_bytes >= 1
        if not (fits and 32 <= self.largest_px <= 16384 and 0 < self.keep_hours < 1e6):
            raise ConfigError(
                "pictures: expected quality 1 to 100, margin 0 to 10, largest_px 32 to 16384, "
                f"keep_hours > 0 and max_bytes >= 1, got {self.quality}, {self.margin}, "
                f"{self.largest_px}, {self.keep_hours} and {self.max_bytes}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureStatus:
    """Counts since the start."""

    kept: int
    """Pictures written."""
    failed: int
    """Pictures that could not be written."""
    deleted: int
    bytes: int
    """Of all that are there."""
    reason: str | None
    """Why the last one could not be written or deleted; None while all is well."""


def utc_now() -> datetime:
    """Return the time of the system's clock."""
    return datetime.now(timezone.utc)


class Pictures:
    """The folder; any thread may call, and no call fails because of the disk.

    Args:
        options: With a folder.
        now: The time, UTC.
    """

    def __init__(self, options: PictureOptions, *, now: Callable[[], datetime] = utc_now) -> None:
        if not options.folder:
            raise ConfigError("pictures are kept nowhere: folder is empty")
        self.options = options
        self._now = now
        self._root = Path(options.folder)
        self._lock = threading.Lock()
        self._kept = self._failed = self._deleted = self._bytes = 0
        self._reason: str | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pictures", daemon=True)

    def start(self) -> None:
        """Delete what is too old now, and from time to time."""
        self.clean(begin=True)
        self._thread.start()

    def stop(self) -> None:
        """Delete no more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def keep(self, event_id: str, time: datetime, image: Image) -> str | None:
        """Write a picture.

        Args:
            event_id: A UUID; part of its name.
            time: When it was taken, aware.
            image: (H, W, 3) uint8 BGR, as ``surroundings`` gives it.

        Returns:
            Its path below the folder; None if it could not be written.
        """
        content = jpeg(image, quality=self.options.quality)
        moment = time.astimezone(timezone.utc)
        day, name = f"{moment:%Y-%m-%d}", f"{moment:%H%M%S.%f}-{event_id}.jpg"
        with self._lock:
            try:
                self._write(self._root / day, name, content)
            except OSError as error:
                self._failed += 1
                self._note(error)
                return None
            self._kept += 1
            self._bytes += len(content)
            self._reason = None
            full = self._bytes > self.options.max_bytes
        if full:
            self.clean()
        return f"{day}/{name}"

    def _write(self, folder: Path, name: str, content: bytes) -> None:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        partial = folder / f"{name}.partial"
        try:
            handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(handle)
            partial.replace(folder / name)
        except OSError:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise

    def clean(self, *, begin: bool = False) -> None:
        """Delete what is too old, then the oldest as long as there is too much.

        Args:
            begin: Also what a process left that was killed while it wrote.
        """
        with self._lock:
            try:
                self._clean(begin=begin)
            except OSError as error:
                self._note(error)

    def _clean(self, *, begin: bool) -> None:
        oldest = self._now() - timedelta(hours=self.options.keep_hours)
        limit = f"{oldest:%Y-%m-%d}/{oldest:%H%M%S.%f}"
        found = list(self._files())
        self._bytes = sum(size for _, size in found)
        most = self.options.max_bytes
        goal = most * _SPARE if self._bytes > most else most
        for path, size in found:
            left_over = begin and path.suffix == ".partial"
            place = f"{path.parent.name}/{path.name}"
            if left_over or place < limit or self._bytes > goal:
                path.unlink(missing_ok=True)
                self._deleted += 1
                self._bytes -= size
        for folder in {path.parent for path, _ in found}:
            with suppress(OSError):  # not empty
                folder.rmdir()

    def _files(self) -> Iterator[tuple[Path, int]]:
        """Yield pictures and their bytes, oldest first."""
        if not self._root.is_dir():
            return
        for folder in sorted(self._root.iterdir()):
            if _DAY.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink():
                with os.scandir(folder) as entries:
                    found = [e for e in entries if _NAME.fullmatch(e.name)]
                for entry in sorted(found, key=lambda e: e.name):
                    yield Path(entry.path), entry.stat(follow_symlinks=False).st_size

    def _note(self, error: OSError) -> None:
        reason = f"{error.strerror or error}"
        if reason != self._reason:
            _LOG.error("pictures cannot be kept: %s", reason)
        self._reason = reason

    def status(self) -> PictureStatus:
        """Return the counts."""
        with self._lock:
            return PictureStatus(
                kept=self._kept,
                failed=self._failed,
                deleted=self._deleted,
                bytes=self._bytes,
                reason=self._reason,
            )

    def _run(self) -> None:
        every_s = min(_LONGEST_LOOK_S, self.options.keep_hours * 3600 / 20)
        while not self._stopping.wait(every_s):
            self.clean()


def surroundings(
    image: Image, quad: npt.NDArray[np.float32], *, margin: float, largest_px: int
) -> Image:
    """Return a region and what is around it.

    Args:
        image: (H, W, 3) uint8 BGR.
        quad: (4, 2) corners of the region, px.
        margin: How much to add on each side, as a share of the region's size.
        largest_px: Longer sides are scaled down to this.

    Returns:
        A copy, (h, w, 3) uint8 BGR, at least 1 px a side.
    """
    low, high = quad.min(axis=0), quad.max(axis=0)
    more = margin * (high - low)
    edge = np.asarray(image.shape[1::-1])
    left, top = np.clip(np.floor(low - more), 0, edge - 1).astype(int)
    right, bottom = np.clip(np.ceil(high + more), (left + 1, top + 1), edge).astype(int)
    return scaled_down(image[top:bottom, left:right], largest_px).copy()


def scaled_down(image: Image, largest_px: int) -> Image:
    """Return an image of at most so many pixels a side; itself if it is small enough."""
    height, width = image.shape[:2]
    scale = largest_px / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def jpeg(image: Image, *, quality: int) -> bytes:
    """Return an image, (H, W, 3) uint8 BGR, as JPEG of a quality from 1 to 100."""
    _, content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return content.tobytes()
