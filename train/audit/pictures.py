"""What every picture is like, measured while it is checked: size, content, hash, exposure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.command import missing_extra
from benchmarks.crops.pictures import DIGEST_BYTES, content_digest
from runtime.arrays import Bools, Image
from runtime.errors import MissingExtraError

from .hamming import Hashes, pack

__all__ = [
    "HASH_BITS",
    "PictureFacts",
    "check_imagehash",
    "exposure",
]

_HASH_SIDE: Final = 12
HASH_BITS: Final = _HASH_SIDE * _HASH_SIDE
"""Bits of the perceptual hash: 8 x 8 cannot tell crops of one kind apart, 12 x 12 can."""
_WORDS: Final = -(-HASH_BITS // 64)
_CELLS: Final = 8
"""Side of the grid on which colours are kept."""
_BLANK_SPREAD: Final = 4.0
_CLIPPED_SHARE: Final = 0.8
_BACKGROUND_SHARE: Final = 0.3
_BRIGHT: Final = 250
_DARK: Final = 10


@dataclass(frozen=True, slots=True, eq=False)
class PictureFacts:
    """What N pictures are like; some 200 bytes for each."""

    size: npt.NDArray[np.int64]
    """(N, 2) height and width, px."""
    files: npt.NDArray[np.uint8]
    """(N, 16) digest of the file's or member's bytes."""
    pixels: npt.NDArray[np.uint8]
    """(N, 16) digest of size and pixels."""
    hashes: Hashes
    """(N, 3) perceptual hashes of ``HASH_BITS`` bits."""
    colours: npt.NDArray[np.uint8]
    """(N, 128) a* and b* of CIELAB as OpenCV scales them to 8 bits, on an 8 x 8 grid."""
    spread: npt.NDArray[np.float64]
    """(N,) standard deviation of the grey levels, 0 to 127.5."""
    bright: npt.NDArray[np.float64]
    """(N,) share of pixels at grey level 250 and above."""
    dark: npt.NDArray[np.float64]
    """(N,) share of pixels at grey level 10 and below."""

    @classmethod
    def empty(cls, count: int) -> PictureFacts:
        """Return room for ``count`` pictures, to be filled by ``put``."""
        return cls(
            size=np.zeros((count, 2), np.int64),
            files=np.zeros((count, DIGEST_BYTES), np.uint8),
            pixels=np.zeros((count, DIGEST_BYTES), np.uint8),
            hashes=np.zeros((count, _WORDS), np.uint64),
            colours=np.zeros((count, 2 * _CELLS * _CELLS), np.uint8),
            spread=np.zeros(count),
            bright=np.zeros(count),
            dark=np.zeros(count),
        )

    @classmethod
    def joined(cls, parts: Sequence[PictureFacts]) -> PictureFacts:
        """Return the facts of all ``parts``, one after the other; at least one part."""
        names = [item.name for item in fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def __len__(self) -> int:
        return len(self.size)

    def take(self, index: npt.NDArray[np.integer]) -> PictureFacts:
        """Return the pictures at ``index``."""
        return PictureFacts(*(getattr(self, item.name)[index] for item in fields(self)))

    def put(self, index: int, image: Image, content: bytes) -> None:
        """Measure one picture.

        Args:
            index: Where to put it.
            image: (H, W, 3) uint8 BGR.
            content: The bytes of its file or member.
        """
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        small = cv2.resize(image, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
        self.size[index] = image.shape[:2]
        self.files[index] = content_digest(content)
        self.pixels[index] = content_digest(repr(image.shape).encode() + image.tobytes())
        self.hashes[index] = pack(_perceptual_hash(grey)[None])[0]
        self.colours[index] = cv2.cvtColor(small, cv2.COLOR_BGR2LAB)[..., 1:].ravel()
        self.spread[index] = grey.std()
        self.bright[index] = (grey >= _BRIGHT).mean()
        self.dark[index] = (grey <= _DARK).mean()

    @property
    def blank(self) -> Bools:
        """(N,) whether nothing can be seen: one grey level all over."""
        return self.spread < _BLANK_SPREAD


def check_imagehash() -> None:
    """Fail early where perceptual hashes cannot be computed.

    Raises:
        MissingExtraError: ImageHash is not installed.
    """
    try:
        import imagehash  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(missing_extra("ImageHash", "train")) from error


def _perceptual_hash(grey: npt.NDArray[Any]) -> Bools:
    """Signs of the lowest frequencies: kept by compression, scaling and changes of light."""
    import imagehash
    from PIL import Image as Pillow

    found = imagehash.phash(Pillow.fromarray(grey), hash_size=_HASH_SIDE)
    return np.asarray(found.hash, np.bool_).ravel()


def exposure(facts: PictureFacts) -> Mapping[str, npt.NDArray[np.int64]]:
    """Return the pictures that show little, by what is wrong with them; each is named once.

    Where the usual picture has a good part of its pixels at an end of the scale, as goods on white
    have, that is a background and says nothing about the exposure.
    """
    blank = facts.blank
    kinds = {"blank": np.flatnonzero(blank)}
    for name, share in (("over-exposed", facts.bright), ("under-exposed", facts.dark)):
        usual = len(share) and np.median(share) >= _BACKGROUND_SHARE
        kinds[name] = np.flatnonzero(~blank & (share >= (np.inf if usual else _CLIPPED_SHARE)))
    return kinds
