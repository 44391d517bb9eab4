"""The one definition of how a crop becomes the network's input.

Training, calibration, parity checks, benchmarks and the gateway all call ``fit``. Everything after
it (type conversion, normalisation, layout) is inside the exported graph, so no consumer can get
it wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from .arrays import Image, Images
from .errors import ConfigError, ImageError
from .strict import StrictObject

__all__ = [
    "MIN_SIDE_PX",
    "InputSpec",
    "check_image",
    "decode_image",
    "fit",
    "fit_many",
    "inner_size",
    "load_image",
    "pad",
]

_FILL: Final = 114
"""Grey level around a letterboxed crop."""
MIN_SIDE_PX: Final = 4
"""Least height and width of a crop."""
_RESIZE_RULES: Final = ("stretch", "letterbox")
_JPEG_MARKER: Final = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd7])")
"""A marker that begins a segment or ends the picture; not one within coded data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """What the network is fed: uint8, NHWC, blue-green-red.

    Raises:
        ConfigError: a size below 8 px or an unknown resize rule.
    """

    height: int = 48
    """Height of the input, px."""
    width: int = 144
    """Width of the input, px."""
    resize: str = "stretch"
    """``stretch`` ignores the aspect ratio; ``letterbox`` keeps it and pads with grey."""

    def __post_init__(self) -> None:
        if not (self.height >= 8 and self.width >= 8):
            raise ConfigError(f"input size must be at least 8x8 px, got {self.height}x{self.width}")
        if self.resize not in _RESIZE_RULES:
            raise ConfigError(f"resize rule {self.resize!r} is unknown; use one of {_RESIZE_RULES}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, 3)."""
        return (self.height, self.width, 3)

    def to_object(self) -> dict[str, Any]:
        """Return plain JSON values, the fixed parts of the contract spelled out."""
        return {
            "layout": "NHWC",
            "dtype": "uint8",
            "colour_order": "BGR",
            "height": self.height,
            "width": self.width,
            "resize": self.resize,
        }

    @classmethod
    def from_object(cls, value: object) -> InputSpec:
        """Parse what ``to_object`` wrote.

        Raises:
            ConfigError: an unknown key, or a layout, type or colour order other than ours.
        """
        with StrictObject(value, "input", ConfigError) as item:
            fixed: Mapping[str, str] = {"layout": "NHWC", "dtype": "uint8", "colour_order": "BGR"}
            for key, expected in fixed.items():
                if item.text(key) != expected:
                    raise ConfigError(f"input.{key} must be {expected!r}, got {item.text(key)!r}")
            return cls(
                height=item.integer("height"),
                width=item.integer("width"),
                resize=item.text("resize"),
            )


def check_image(image: object) -> Image:
    """Return ``image`` if it is a usable picture.

    Raises:
        ImageError: not a numpy array, not uint8, not (H, W, 3), or a side under 4 px.
    """
    if not isinstance(image, np.ndarray):
        raise ImageError(f"expected a numpy array (H, W, 3) uint8, got {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ImageError(
            f"expected a non-empty (H, W, 3) uint8 image in BGR order, got shape {image.shape} "
            f"{image.dtype}; convert grey pictures with cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)"
        )
    if min(image.shape[:2]) < MIN_SIDE_PX:
        raise ImageError(
            f"expected at least {MIN_SIDE_PX} px on each side, got {image.shape[0]}x"
            f"{image.shape[1]}: nothing can be told from it; check the region that was cropped"
        )
    return image


def load_image(path: Path) -> Image:
    """Read a picture file as the runtime wants it: (H, W, 3) uint8 BGR, turned as EXIF says.

    Raises:
        ImageError: the file cannot be read, holds no picture that OpenCV knows, is cut short or
            too small.
    """
    try:
        # Not cv2.imread: it takes no path outside the locale's encoding on some systems.
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from error
    return decode_image(data, str(path))


def decode_image(data: bytes, name: str) -> Image:
    """Decode a picture file's content, as ``load_image`` does; errors begin with ``name``.

    Raises:
        ImageError: ``data`` is no picture that OpenCV knows, is cut short or too small, or has 16
            bits of which the upper ones are not used.
        MemoryError: there is not enough for it, which says nothing of the picture.
    """
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(f"{name}: {error.err}") from error
        raise ImageError(f"{name}: not a readable picture ({error.err})") from error
    if data and _cut_short(data):
        raise ImageError(f"{name}: the picture is cut short ({len(data)} bytes)")
    if image is None:
        raise ImageError(f"{name}: not a readable picture ({len(data)} bytes)")
    try:
        checked = check_image(image)
        _check_range(data, checked)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    return checked


def _cut_short(data: bytes) -> bool:
    """Whether the end is missing; OpenCV fills what is missing with grey and says nothing."""
    if data.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in data[-1024:] and not _jpeg_ends(data)
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-1024:] and not _png_ends(data)
    if data.startswith(b"BM"):
        return len(data) < int.from_bytes(data[2:6], "little")
    if data.startswith(b"RIFF"):
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    return False


def _jpeg_ends(data: bytes) -> bool:
    """Whether the end marker is there; phones write films and depth maps behind it."""
    position = 2
    while found := _JPEG_MARKER.search(data, position):
        if found[1] == b"\xd9":
            return True
        # What a segment holds may look like a marker, as the end of a thumbnail does.
        length = int.from_bytes(data[found.end() : found.end() + 2], "big")
        position = found.end() + max(2, length)
    return False


def _png_ends(data: bytes) -> bool:
    position = 8
    while position + 8 <= len(data):
        if data[position + 4 : position + 8] == b"IEND":
            return True
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    return False


def _check_range(data: bytes, image: Image) -> None:
    """Refuse a picture of 16 bits that uses the lowest 12 alone: its upper 8 are what is read.

    Raises:
        ImageError: saying what to do.
    """
    if _lowest_bits_alone(data, image):
        raise ImageError(
            "a picture of 16 bits whose values are all below 4096, which is nearly black; if they "
            "are of 12 bits, multiply them by 16, or write 8 bits"
        )


def _lowest_bits_alone(data: bytes, image: Image) -> bool:
    if data.startswith(b"\x89PNG"):
        return data[24:25] == b"\x10" and bool(image.max() < 16)
    # Of a TIFF the header does not tell, and OpenCV rounds; only what is dark is decoded again.
    if data.startswith((b"II*\0", b"MM\0*")) and image.max() <= 16:
        stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        return stored is not None and stored.dtype == np.uint16 and bool(stored.max() < 4096)
    return False


def fit(image: Image, spec: InputSpec) -> Image:
    """Bring a crop to the network's input size.

    Args:
        image: (H, W, 3) uint8 BGR, at least 4 px a side; not changed.
        spec: The wanted size and resize rule.

    Returns:
        (spec.height, spec.width, 3) uint8, a fresh array unless the size already fits.

    Raises:
        ImageError: ``image`` is not (H, W, 3) uint8.
    """
    image = check_image(image)
    if image.shape == spec.shape:
        return np.ascontiguousarray(image)
    height, width = inner_size(image.shape[0], image.shape[1], spec)
    return pad(_scale(image, height, width), spec)


def fit_many(images: Sequence[Image], spec: InputSpec) -> Images:
    """Bring crops to the input size and stack them to (N, height, width, 3) uint8.

    Raises:
        ImageError: one of ``images`` is not (H, W, 3) uint8.
    """
    stacked = np.empty((len(images), *spec.shape), np.uint8)
    for index, image in enumerate(images):
        stacked[index] = fit(image, spec)
    return stacked


def _scale(image: Image, height: int, width: int) -> Image:
    shrinks = image.shape[0] > height and image.shape[1] > width
    # Area averaging avoids aliasing when both sides shrink; it degenerates when one grows.
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    scaled: Image = cv2.resize(image, (width, height), interpolation=method)  # type: ignore[assignment]
    return scaled


def inner_size(height: float, width: float, spec: InputSpec) -> tuple[int, int]:
    """Return the height and width that a crop of this size takes within the input, px."""
    if spec.resize != "letterbox":
        return spec.height, spec.width
    scale = min(spec.height / height, spec.width / width)
    return (
        max(1, min(spec.height, round(height * scale))),
        max(1, min(spec.width, round(width * scale))),
    )


def pad(image: Image, spec: InputSpec) -> Image:
    """Put an image of ``inner_size`` in the middle of the input, with grey around it."""
    if image.shape == spec.shape:
        return image
    height, width = image.shape[:2]
    top, left = (spec.height - height) // 2, (spec.width - width) // 2
    padded = np.full(spec.shape, _FILL, np.uint8)
    padded[top : top + height, left : left + width] = image
    return padded
