"""Pictures in a folder or a list, shown one after the other as a camera would."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.arrays import Image
from runtime.errors import ImageError
from runtime.preprocess import load_image

from .addresses import Kind, file_path
from .options import CameraOptions
from .source import Arrival, Broken, End, Recovery

__all__ = ["Still", "Stills"]

_ENDINGS: Final = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class Still:
    """A picture that was read from a file."""

    picture: Image
    time_s: float
    key: bool = True
    corrupt: bool = False
    waits: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, px."""
        return self.picture.shape[1], self.picture.shape[0]

    def pixels(self) -> npt.NDArray[np.uint8]:
        """Return all of it."""
        return self.picture

    def image(self) -> Image:
        """Return it; nobody else has it."""
        return self.picture


class Stills:
    """A folder's pictures in the order of their names, or a list's in its own.

    Raises:
        Broken: there are none.
    """

    def __init__(self, options: CameraOptions) -> None:
        path = Path(file_path(options.url))
        try:
            self._paths = _listed(path) if options.kind is Kind.LIST else _in_folder(path)
        except (OSError, UnicodeDecodeError) as error:
            raise Broken(f"{path} cannot be read: {error}", Recovery.NEVER) from error
        if not self._paths:
            raise Broken(f"{path} names no pictures ({', '.join(_ENDINGS)})", Recovery.NEVER)
        self._next = 0
        self._seconds = 1 / (options.fps or 1)
        self.description = f"{len(self._paths)} pictures"

    def read(self) -> Arrival:
        """Read the next picture; one that cannot be read counts as a decoding error.

        Raises:
            End: that was the last.
        """
        if self._next == len(self._paths):
            raise End
        index, self._next = self._next, self._next + 1
        try:
            image = load_image(self._paths[index])
        except (ImageError, MemoryError):
            return Arrival(decode_errors=1)
        return Arrival([Still(image, index * self._seconds)])

    def close(self) -> None:
        """Forget the list."""
        self._paths = []


def _in_folder(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _ENDINGS)


def _listed(path: Path) -> list[Path]:
    """Return the first column of each line, relative to the list's folder."""
    lines = path.read_text(encoding="utf-8").splitlines()
    names = [line.partition("\t")[0].strip() for line in lines]
    return [path.parent / name for name in names if name]
