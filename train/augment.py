"""Random changes to training crops, at the network's input size."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from runtime.arrays import Image
from runtime.errors import ConfigError

__all__ = ["AugmentConfig", "augment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """How strongly crops are changed; 0 everywhere leaves them as they are.

    Raises:
        ConfigError: a value outside [0, 1].
    """

    geometry: float = 0.6
    """Perspective, shift, scale and rotation: 1 moves each corner by up to 12 % of the side."""
    colour: float = 0.6
    """Brightness, contrast, gamma and colour cast."""
    blur: float = 0.35
    """Probability of defocus, motion blur or a coarser resolution."""
    noise: float = 0.3
    """Probability of sensor noise."""
    erase: float = 0.15
    """Probability of a small patch painted over."""
    flip: float = 0.0
    """Probability of a horizontal flip; leave at 0 for texts."""

    def __post_init__(self) -> None:
        values = [self.geometry, self.colour, self.blur, self.noise, self.erase, self.flip]
        if not all(0 <= value <= 1 for value in values):
            raise ConfigError(f"augmentation strengths must lie in [0, 1], got {values}")


def augment(image: Image, config: AugmentConfig, random: np.random.Generator) -> Image:
    """Return a changed copy of ``image``, (H, W, 3) uint8 of the same size."""
    chances = random.random(5)
    if config.flip and chances[0] < config.flip:
        image = np.ascontiguousarray(image[:, ::-1])
    if config.geometry and chances[1] < 0.9:
        image = _warp(image, 0.12 * config.geometry, random)
    if chances[2] < config.blur:
        image = _soften(image, random)
    if config.colour:
        image = _recolour(image, config.colour, random)
    if chances[3] < config.noise:
        spread = random.uniform(2, 14)
        noise = random.standard_normal(image.shape, np.float32) * np.float32(spread)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if chances[4] < config.erase:
        image = _erase(image, random)
    return image


def _warp(image: Image, reach: float, random: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    # A joint shift of all corners and an own one for each; the width is moved half as much,
    # so that the outer characters stay inside.
    scale = np.array([width * 0.5, height], np.float32) * np.float32(reach)
    moved = corners + random.uniform(-1, 1, (4, 2)).astype(np.float32) * scale
    moved += random.uniform(-0.5, 0.5, (1, 2)).astype(np.float32) * scale
    matrix = cv2.getPerspectiveTransform(corners, moved)
    warped = cv2.warpPerspective(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return warped  # type: ignore[return-value]


def _soften(image: Image, random: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    kind = random.integers(3)
    if kind == 0:
        return cv2.GaussianBlur(image, (0, 0), random.uniform(0.5, 1.8))  # type: ignore[return-value]
    if kind == 1:
        length = int(random.integers(3, 8))
        kernel = np.zeros((length, length), np.float32)
        angle = random.uniform(0, np.pi)
        reach = (length - 1) / 2 * np.array([np.cos(angle), np.sin(angle)])
        centre = np.full(2, (length - 1) / 2)
        start, end = centre - reach, centre + reach
        cv2.line(kernel, start.round().astype(int).tolist(), end.round().astype(int).tolist(), 1.0)
        return cv2.filter2D(image, -1, kernel / kernel.sum())  # type: ignore[return-value]
    factor = random.uniform(0.35, 0.8)
    small = (max(8, int(width * factor)), max(8, int(height * factor)))
    coarse = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def _recolour(image: Image, strength: float, random: np.random.Generator) -> Image:
    levels = np.arange(256, dtype=np.float32)[:, None] / 255  # (256, 1)
    gamma = np.exp(random.normal(0, 0.35 * strength))
    gain = np.exp(random.normal(0, 0.3 * strength)) * np.exp(random.normal(0, 0.12 * strength, 3))
    offset = random.normal(0, 0.08 * strength)
    table = (levels**gamma - 0.5) * gain[None] + 0.5 + offset  # (256, 3)
    curves = np.clip(table * 255, 0, 255).astype(np.uint8)
    return cv2.LUT(image, curves[None])  # type: ignore[return-value]


def _erase(image: Image, random: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    tall = int(random.integers(2, max(3, height // 3)))
    wide = int(random.integers(2, max(3, width // 16)))
    top, left = int(random.integers(height - tall)), int(random.integers(width - wide))
    image = image.copy()
    image[top : top + tall, left : left + wide] = random.integers(0, 256, 3)
    return image
