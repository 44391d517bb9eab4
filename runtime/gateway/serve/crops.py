"""Pictures that came over the network, decoded only when their size is known.

A JPEG of 100 kB can hold 10,000 x 10,000 px, which take 300 MB once decoded. The size stands in its
header; only formats whose header is read here are decoded.
"""

from __future__ import annotations

from collections.abc import Sequence

from runtime.arrays import Image
from runtime.errors import ImageError
from runtime.preprocess import decode_image

__all__ = ["are_quick", "decode_crop", "picture_size"]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Start of frame, whatever the coding; the three others are tables (ITU T.81, table B.1)."""
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
"""Markers without a length."""
_START_OF_SCAN = b"\xff\xda"
_QUICK_BYTES = 65_536
_QUICK_PX = 65_536
_MOST_SCANS = 64
"""Each costs a pass over the picture; encoders write about ten."""


def are_quick(pictures: Sequence[bytes]) -> bool:
    """Whether pictures are so small that decoding them takes less than waking another thread."""
    if sum(map(len, pictures)) > _QUICK_BYTES:
        return False
    try:
        sizes = [picture_size(data, "") for data in pictures]
    except ImageError:  # told when it is decoded
        return True
    return sum(width * height for width, height in sizes) <= _QUICK_PX


def decode_crop(data: bytes, name: str, *, largest_px: float) -> Image:
    """Decode a JPEG or PNG.

    Args:
        data: The file's content.
        name: Of the picture, for messages.
        largest_px: Pixels that it may have.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        ImageError: another format, a broken picture, or one that is too large.
    """
    width, height = picture_size(data, name)
    if width * height > largest_px:
        raise ImageError(
            f"{name}: {width}x{height} px, allowed are {largest_px:.0f}; send the crop only"
        )
    if data.count(_START_OF_SCAN) > _MOST_SCANS:
        raise ImageError(f"{name}: more than {_MOST_SCANS} scans; save it anew")
    return decode_image(data, name)


def picture_size(data: bytes, name: str) -> tuple[int, int]:
    """Return a JPEG's or PNG's width and height in pixels, from its header.

    Args:
        data: The file's content.
        name: Of the picture, for messages.

    Raises:
        ImageError: another format, or no size where it must be.
    """
    if data.startswith(_JPEG):
        return _jpeg_size(data, name)
    if data.startswith(_PNG):
        if data[12:16] == b"IHDR" and len(data) >= 24:
            return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
        raise ImageError(f"{name}: a PNG without a header")
    raise ImageError(f"{name}: expected a JPEG or PNG, got {data[:4].hex(' ') or 'nothing'}")


def _jpeg_size(data: bytes, name: str) -> tuple[int, int]:
    """Walk over the segments as libjpeg does, which skips bytes between them."""
    place = 2
    while (place := data.find(b"\xff", place)) >= 0:
        while data[place : place + 1] == b"\xff":  # any number may fill the gap
            place += 1
        marker = data[place] if place < len(data) else 0
        place += 1
        if marker == 0 or marker in _ALONE:
            continue
        segment = data[place : place + 7]
        if marker in _FRAME_MARKERS and len(segment) == 7:
            return int.from_bytes(segment[5:7], "big"), int.from_bytes(segment[3:5], "big")
        if marker == 0xDA or len(segment) < 2:  # a picture before its size
            break
        place += int.from_bytes(segment[:2], "big")
    raise ImageError(f"{name}: a JPEG without a size")
