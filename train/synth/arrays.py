"""Shapes and small array operations that all drawing steps share."""

from __future__ import annotations

from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Image",
    "Mask",
    "Picture",
    "as_image",
    "as_mask",
    "as_picture",
    "blend",
    "chance",
    "flat",
    "shade",
]

Image: TypeAlias = NDArray[np.uint8]
"""(H, W, 3) BGR, 0-255."""
Mask: TypeAlias = NDArray[np.uint8]
"""(H, W) coverage, 0-255."""
Picture: TypeAlias = NDArray[np.float32]
"""(H, W, 3) BGR or (H, W) weights, nominally 0-1; may leave the range between steps."""


def as_image(values: NDArray[Any]) -> Image:
    """Type what OpenCV returned as an image; converts only when the dtype differs."""
    return np.asarray(values, dtype=np.uint8)


as_mask = as_image


def as_picture(values: NDArray[Any]) -> Picture:
    """Type what OpenCV returned as a picture; converts only when the dtype differs."""
    return np.asarray(values, dtype=np.float32)


def flat(colour: NDArray[Any], size: tuple[int, int]) -> Picture:
    """Return a (height, width, 3) picture of one colour (3,); ``size`` is (width, height)."""
    planes = [np.full(size[::-1], value, np.float32) for value in colour]
    return as_picture(cv2.merge(planes))


def blend(below: Picture, above: NDArray[Any], cover: Picture) -> Picture:
    """Lay ``above``, a picture or one colour (3,), over ``below`` where ``cover`` (H, W) is 1."""
    # OpenCV, because numpy is several times slower where the last axis is broadcast.
    if above.ndim == 1:
        above = flat(above, (below.shape[1], below.shape[0]))
    return as_picture(cv2.blendLinear(below, as_picture(above), 1 - cover, cover))


def shade(picture: Picture, gains: Picture, colour: NDArray[Any] | None = None) -> Picture:
    """Multiply (H, W, 3) by gains (H, W), and each channel by ``colour`` (3,) if given."""
    planes = [gains] * 3 if colour is None else [gains * np.float32(value) for value in colour]
    return as_picture(picture * cv2.merge(planes))


def chance(rng: np.random.Generator, probability: float) -> bool:
    """Return True with ``probability``; always consumes one draw."""
    return bool(rng.random() < probability)
