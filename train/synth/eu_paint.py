"""The face of a European, Asian or South American plate: bands, seals, border, characters."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

from .arrays import Image, as_image, chance
from .emblems import draw_emblem
from .fonts import FontSet
from .layout import Layout
from .lettering import Colour, pick_dies, print_words
from .us_colours import pick_palette, vivid
from .us_paint import draw_holes, number_mask, press, round_corners

__all__ = ["paint_eu"]

_BLUE: Colour = (150.0, 50.0, 10.0)
_BLACK: Colour = (25.0, 22.0, 22.0)


def paint_eu(layout: Layout, fonts: FontSet, rng: np.random.Generator, *, plain: bool) -> Image:
    """Paint the face, (H, W, 3) uint8.

    Args:
        layout: Where the characters stand.
        fonts: Fonts to draw with.
        rng: Source of all chance.
        plain: Draw no seals between the characters.
    """
    scale = layout.px_per_mm
    width, height = round(layout.width_mm * scale), round(layout.height_mm * scale)
    ground, ink = _paints(rng)
    face = as_image(np.empty((height, width, 3), np.uint8))
    face[:] = np.clip(ground, 0, 255)
    lefts = [cell.x_mm for cell in layout.cells]
    rights = [cell.x_mm + cell.width_mm for cell in layout.cells]
    for x, end in ((0.0, min(lefts)), (max(rights), layout.width_mm)):
        # Only beside the characters is room for a band; 8 % of 520 mm is its legal width.
        if end - x > 0.085 * layout.width_mm and chance(rng, 0.9):
            inner = 0.085 * width
            _band(face, 0.0 if x == 0 else width - inner, inner, rng)
    if not plain and len(layout.dots_mm) == 0 and layout.dash_mm is None:
        _seals(face, layout, rng)
    dies = pick_dies(fonts, rng, us=False)
    press(face, number_mask(layout, dies, rng), ink, rng)
    draw_holes(face, layout, rng)
    if chance(rng, 0.6):
        inset = round(height * rng.uniform(0.01, 0.05))
        ends = ((inset, inset), (width - 1 - inset, height - 1 - inset))
        cv2.rectangle(face, *ends, ink, int(rng.integers(1, 4)), cv2.LINE_AA)
    if chance(rng, 0.6):
        round_corners(face, layout, rng)
    return face


def _paints(rng: np.random.Generator) -> tuple[Colour, Colour]:
    """Ground and ink: black on white or yellow mostly, sometimes any pair."""
    draw = rng.random()
    if draw > 0.8:
        palette = pick_palette(rng)
        return palette.ground, palette.ink
    tone = float(rng.uniform(205, 255))
    blue = tone * rng.uniform(0.0, 0.35) if draw > 0.6 else tone
    red = tone * rng.uniform(0.93, 1.0)
    return (blue, tone * rng.uniform(0.8, 0.92) if draw > 0.6 else tone, red), _BLACK


def _band(face: Image, x: float, wide: float, rng: np.random.Generator) -> None:
    """The blue band with a ring of stars and the letters of the country."""
    height = face.shape[0]
    colour = _BLUE if chance(rng, 0.85) else vivid(rng)
    cv2.rectangle(face, (round(x), 0), (round(x + wide), height), colour, -1)
    centre = x + wide / 2
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    for angle in angles if chance(rng, 0.75) else ():
        spot = (centre + 0.28 * wide * np.cos(angle), 0.3 * height + 0.28 * wide * np.sin(angle))
        cv2.circle(face, (round(spot[0]), round(spot[1])), 1, (60, 220, 250), -1)
    letters = "".join(chr(65 + int(v)) for v in rng.integers(0, 26, int(rng.integers(1, 4))))
    print_words(
        face, letters, cv2.FONT_HERSHEY_DUPLEX, (245, 245, 245), centre=(centre, height * 0.76),
        height=height * rng.uniform(0.14, 0.24), longest=wide * 0.75, thickness=2,
    )  # fmt: skip


def _seals(face: Image, layout: Layout, rng: np.random.Generator) -> None:
    """Round stickers of the authority in the widest gap, one or two above each other."""
    scale = layout.px_per_mm
    cells = layout.cells
    gaps = [b.x_mm - a.x_mm - a.width_mm for a, b in pairwise(cells)]
    place = int(np.argmax(gaps))
    if gaps[place] < 22 or not chance(rng, 0.6):
        return
    cell = cells[place]
    x = (cell.x_mm + cell.width_mm + gaps[place] / 2) * scale
    radius = gaps[place] * rng.uniform(0.3, 0.42) * scale
    middle = (cell.y_mm + cell.height_mm / 2) * scale
    offsets = (-1.15, 1.15) if chance(rng, 0.5) else (0.0,)
    for offset in offsets:
        draw_emblem(face, x, middle + offset * radius, radius, vivid(rng), rng)
