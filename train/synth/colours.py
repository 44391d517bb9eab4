"""Colours of plates: ground, ink and second ink, as paint before any light falls on it."""

from __future__ import annotations

import colorsys

import numpy as np

from .arrays import Picture, as_picture, chance, flat
from .texts import PlateText

__all__ = ["chinese_colours", "hsv"]


def hsv(hue: float, saturation: float, value: float) -> Picture:
    """BGR colour from hue in degrees and saturation and value in [0, 1]."""
    red, green, blue = colorsys.hsv_to_rgb((hue % 360) / 360, saturation, value)
    return as_picture(np.array([blue, green, red], np.float32))


def chinese_colours(
    plate: PlateText, size: tuple[int, int], rng: np.random.Generator
) -> tuple[Picture, Picture, Picture]:
    """Ground (H, W, 3), ink (3,) and second ink (3,)."""
    bright = rng.uniform(0.85, 1.0)
    # A third as surveillance cameras record them: greyed, the ink hardly brighter than the ground.
    dull = chance(rng, 0.33)
    if dull and plate.colour != "white":
        bright = rng.uniform(0.5, 0.9)
    white = hsv(rng.uniform(190, 280), rng.uniform(0, 0.14), bright)
    black = hsv(rng.uniform(0, 360), rng.uniform(0, 0.4), rng.uniform(0.03, 0.2))
    red = hsv(rng.uniform(-8, 10), rng.uniform(0.65, 0.95), rng.uniform(0.55, 0.9))
    if plate.colour == "blue":
        saturation = rng.uniform(0.35, 0.65) if dull else rng.uniform(0.6, 0.97)
        value = rng.uniform(0.36, 0.6) if dull else rng.uniform(0.5, 0.9)
        hue = rng.uniform(218, 234) if dull else rng.uniform(207, 234)
        return flat(hsv(hue, saturation, value), size), white, red
    if plate.colour == "yellow":
        value = rng.uniform(0.35, 0.6) if dull else rng.uniform(0.6, 0.98)
        ground = hsv(rng.uniform(36, 52), rng.uniform(0.55, 0.97), value)
        return flat(ground, size), black, red
    if plate.colour == "white":
        return flat(hsv(rng.uniform(0, 360), rng.uniform(0, 0.06), bright), size), black, red
    if plate.colour == "black":
        return flat(black, size), white, white
    return _green(plate, size, rng), black, red


def _green(plate: PlateText, size: tuple[int, int], rng: np.random.Generator) -> Picture:
    """Small cars: white above fading to green below. Large ones: yellow head, green body."""
    hue, saturation = rng.uniform(110, 165), rng.uniform(0.35, 0.75)
    low = hsv(hue, saturation, rng.uniform(0.6, 0.9))
    if plate.kind == "energy-large":
        face = flat(low, size)
        edge = round(size[0] * rng.uniform(0.235, 0.255))
        face[:, :edge] = hsv(rng.uniform(40, 55), rng.uniform(0.6, 0.9), rng.uniform(0.75, 0.95))
        return face
    high = hsv(hue, rng.uniform(0.0, 0.12), rng.uniform(0.88, 1.0))
    steps = np.linspace(0, 1, size[1], dtype=np.float32)[:, None, None] ** rng.uniform(0.8, 1.6)
    return as_picture(np.repeat(high + (low - high) * steps, size[0], axis=1))
