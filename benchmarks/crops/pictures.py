"""Where labelled pictures are, and reading them: files, regions of files, members of tar shards."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Final, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from runtime.arrays import Image
from runtime.cores import own_cores
from runtime.errors import DataError, ImageError
from runtime.preprocess import MIN_SIDE_PX, decode_image, load_image

from .texts import Texts

__all__ = [
    "DIGEST_BYTES",
    "IMAGE_SUFFIXES",
    "Boxes",
    "Pictures",
    "Spans",
    "content_digest",
    "for_each",
    "read_image",
]

IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
DIGEST_BYTES: Final = 16
_CHUNK: Final = 64
_MOST_THREADS: Final = 32
_WHOLE_FILE: Final = (0, -1)
_WHOLE_PICTURE: Final = (0, 0, 0, 0)

Boxes: TypeAlias = npt.NDArray[np.int64]
"""(N, 4): first column, first row, last column, last row, px, counted from 1, both included; all 0
for the whole picture."""
Spans: TypeAlias = npt.NDArray[np.int64]
"""(N, 2): first byte and number of bytes within a shard; (0, -1) for a file of its own."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Pictures(Sequence[Path]):
    """The places of N pictures, as N paths; some ten bytes each beside the name.

    The path of a picture in a tar shard is that of the shard, followed by the member's name.
    """

    homes: Sequence[Path]
    """The few folders or shards that the names are in."""
    home: npt.NDArray[np.int32]
    """(N,) index into ``homes``."""
    names: Texts
    """N paths relative to their homes."""
    spans: Spans | None = None
    """Where the bytes are; None if all are files."""
    boxes: Boxes | None = None
    """Which regions are meant; None if all are whole pictures."""

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> Pictures: ...
    def __getitem__(self, index: int | slice) -> Path | Pictures:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        return self.homes[int(self.home[index])] / self.names[index]

    def take(self, index: npt.NDArray[np.integer]) -> Pictures:
        """Return the pictures at ``index``."""
        return replace(
            self,
            home=self.home[index],
            names=self.names.take(index),
            spans=None if self.spans is None else self.spans[index],
            boxes=None if self.boxes is None else self.boxes[index],
        )

    @classmethod
    def joined(cls, parts: Sequence[Pictures]) -> Pictures:
        """Return the pictures of all ``parts``, one after the other; at least one part."""
        names = Texts()
        for part in parts:
            names.extend(part.names)
        starts = np.cumsum([0, *(len(part.homes) for part in parts)])
        return cls(
            homes=[home for part in parts for home in part.homes],
            home=np.concatenate(
                [part.home + np.int32(s) for s, part in zip(starts, parts, strict=False)]
            ),
            names=names,
            spans=_joined([part.spans for part in parts], parts, _WHOLE_FILE),
            boxes=_joined([part.boxes for part in parts], parts, _WHOLE_PICTURE),
        )

    def identity(self, index: int) -> str:
        """Return what tells this picture from others, wherever its folder is: name and region."""
        name = self.names[index].rpartition("/")[2]
        return f"{name} {_row(self.boxes, index)}" if self.cut(index) else name

    def content(self, index: int) -> bytes:
        """Return the bytes of the picture's file or member, whatever its region.

        Raises:
            DataError: they cannot be read.
        """
        start, size = _row(self.spans, index) or _WHOLE_FILE
        source = self[index] if size < 0 else self.homes[self.home[index]]
        try:
            with source.open("rb", buffering=0) as stream:
                stream.seek(start)
                data = stream.read(size)
        except OSError as error:
            raise DataError(f"{self[index]}: cannot be read: {error.strerror or error}") from error
        except ValueError as error:  # a path with a NUL byte
            raise DataError(f"{str(self[index])!r}: cannot be read: {error}") from error
        if 0 <= size != len(data):
            raise DataError(f"{source}: became shorter since it was scanned; start again")
        return data

    def read(self, index: int) -> Image:
        """Return one picture, (H, W, 3) uint8 BGR at its own size.

        Raises:
            DataError: it is missing, no picture, cut short or too small, or its region is not
                inside it.
        """
        return self.decode(index, self.content(index))

    def decode(self, index: int, content: bytes) -> Image:
        """Return the picture that ``content``, the bytes of its file, holds, as ``read`` does.

        Raises:
            DataError: as for ``read``.
        """
        try:
            image = decode_image(content, str(self[index]))
        except ImageError as error:
            raise DataError(str(error)) from error
        return _region(image, _row(self.boxes, index), self[index]) if self.cut(index) else image

    def cut(self, index: int) -> bool:
        """Whether the picture is a region of its file."""
        return any(_row(self.boxes, index))


def _row(values: npt.NDArray[np.int64] | None, index: int) -> list[int]:
    row: list[int] = [] if values is None else values[index].tolist()
    return row


def _joined(
    values: Sequence[npt.NDArray[np.int64] | None], parts: Sequence[Pictures], absent: Sequence[int]
) -> npt.NDArray[np.int64] | None:
    """Return the rows of all parts, ``absent`` where a part has none; None where no part has."""
    if all(value is None for value in values):
        return None
    filled = [
        np.tile(np.array(absent, np.int64), (len(part), 1)) if value is None else value
        for value, part in zip(values, parts, strict=True)
    ]
    return np.concatenate(filled)


def _region(image: Image, box: Sequence[int], path: Path) -> Image:
    left, top, right, bottom = box
    height, width = image.shape[:2]
    if not (1 <= left <= right <= width and 1 <= top <= bottom <= height):
        raise DataError(
            f"{path}: the box {left} {top} {right} {bottom} is not inside the picture; expected "
            f"x1 y1 x2 y2 within 1 1 {width} {height}"
        )
    if min(right - left, bottom - top) + 1 < MIN_SIDE_PX:
        raise DataError(
            f"{path}: the box {left} {top} {right} {bottom} is smaller than {MIN_SIDE_PX} px a side"
        )
    return np.ascontiguousarray(image[top - 1 : bottom, left - 1 : right])


def content_digest(data: bytes) -> npt.NDArray[np.uint8]:
    """Return the digest of a picture's file, (16,)."""
    return np.frombuffer(hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest(), np.uint8)


def read_image(path: Path) -> Image:
    """Read a picture as (H, W, 3) uint8, BGR.

    Raises:
        DataError: the file is missing, no picture, cut short or too small.
    """
    try:
        return load_image(path)
    except ImageError as error:
        raise DataError(str(error)) from error


def for_each(count: int, work: Callable[[int], None]) -> None:
    """Call ``work`` with every number below ``count``, on all cores, in no certain order.

    OpenCV decodes outside the interpreter lock. An error of ``work`` is raised here.
    """
    chunk = max(1, min(_CHUNK, count // 32))  # a batch, too, keeps all threads at work
    starts = iter(range(0, count, chunk))  # shared: each start goes to one thread
    stop = Event()

    def run() -> None:
        try:
            while not stop.is_set() and (start := next(starts, None)) is not None:
                for index in range(start, min(start + chunk, count)):
                    work(index)
        except BaseException:
            stop.set()
            raise

    if count <= chunk:
        run()
        return
    threads = min(_MOST_THREADS, len(own_cores()) + 4)
    with ThreadPoolExecutor(threads) as pool:
        tasks = [pool.submit(run) for _ in range(threads)]
        try:
            for task in tasks:
                task.result()
        except BaseException:  # Ctrl-C too must not wait for all the rest
            stop.set()
            raise
