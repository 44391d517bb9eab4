"""From the face to the light that reaches the camera, for plates that somebody photographed.

US and European sets are mostly crops from photographs by hand and from patrol cars: straight on,
sharp, the whole plate in view. The rest is seen from the side, cut off or badly lit.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from .arrays import Image, Picture, as_picture, chance, flat
from .scene import corners, light, surroundings, wear

__all__ = ["snapshot"]

_DISTANCE: Final = 5.0
"""Of the camera, in widths of the plate."""


def snapshot(
    face: Image, rng: np.random.Generator, *, strength: float, free: tuple[float, float]
) -> Picture:
    """Photograph a face: (h, w, 3) in [0, 1], twice the final size.

    Args:
        face: Paint of the plate, seen square on.
        rng: Source of all chance.
        strength: 0 clean to 1 worst.
        free: Shares of the width and of the height, on each side, without characters; a tight crop
            may cut into them.
    """
    quad = _pose(face.shape[1] / face.shape[0], rng, strength)
    low, high = _crop(quad, rng, strength, free)
    width, height = _output_size(high - low, rng, strength)
    work = (width * 2, height * 2)
    placed = as_picture((quad - low) / (high - low) * work)
    matrix = cv2.getPerspectiveTransform(corners(face.shape[1], face.shape[0]), placed)
    if chance(rng, 0.25 + strength):
        scene = surroundings(work, placed, rng)
    else:
        scene = flat(
            np.clip(rng.choice((0.05, 0.25, 0.5, 0.85)) + rng.normal(0, 0.05, 3), 0, 1), work
        )
    # Lit before it is scaled up: the face has half as many pixels as the scene.
    paint = as_picture(face.astype(np.float32) * np.float32(1 / 255))
    lit = light(wear(paint, rng, strength), rng, strength)
    return as_picture(
        cv2.warpPerspective(
            lit, matrix, work, dst=scene, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT
        )
    )


def _pose(aspect: float, rng: np.random.Generator, strength: float) -> NDArray[np.float64]:
    """Corners of the plate before the camera, (4, 2) in heights of the plate, from top left."""
    roll = np.clip(rng.normal(0, 0.012 + 0.09 * strength), -0.21, 0.21)
    yaw, pitch = rng.normal(0, (0.05 + 0.6 * strength, 0.05 + 0.3 * strength)).clip(-0.9, 0.6)
    flat = (np.array(corners(aspect, 1), np.float64) - (aspect / 2, 0.5)).T  # (2, 4)
    x, y = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]) @ flat
    depth = (x * np.sin(yaw) + y * np.sin(pitch)) / (_DISTANCE * aspect)
    # Seen from the side, a plate is narrower; its far edge is smaller.
    seen = np.stack([x * np.cos(yaw), y * np.cos(pitch)]) / (1 + depth)
    return np.asarray(seen.T + rng.normal(0, 0.004 + 0.02 * strength, (4, 2)))


def _crop(
    quad: NDArray[np.float64],
    rng: np.random.Generator,
    strength: float,
    free: tuple[float, float],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Upper left and lower right corner of the crop, (2,) each, in heights of the plate."""
    low, high = quad.min(0), quad.max(0)
    span = high - low
    draw = rng.random()
    if draw < 0.6:
        margins = rng.normal(0, 0.012, (2, 2))
    elif draw < 0.75 and strength < 0.5:
        margins = -rng.uniform(0, 0.6, (2, 2)) * free
    else:
        margins = rng.uniform(-0.01, 0.05 + 0.08 * strength, (2, 2))
    return low - margins[0] * span, high + margins[1] * span


def _output_size(
    span: NDArray[np.float64], rng: np.random.Generator, strength: float
) -> tuple[int, int]:
    """Draw the size of the crop in pixels; some data sets stretch plates."""
    aspect = span[0] / span[1] * float(np.exp(rng.normal(0, 0.04)))
    if chance(rng, 0.06):
        aspect *= rng.uniform(1.1, 1.4)
    smallest = 110 - 42 * strength
    width = float(np.exp(rng.uniform(np.log(smallest), np.log(172))))
    return round(width), max(20, round(width / aspect))
