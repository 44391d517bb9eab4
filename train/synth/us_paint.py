"""The face of a US plate: ground and pictures, names, characters, stickers, screws, frame."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from .arrays import Image, Mask, as_image, as_mask, chance
from .emblems import draw_backdrop, draw_emblem
from .fonts import FontSet
from .layout import Cell, Layout
from .lettering import Colour, Dies, lay_ink, pick_dies
from .paint import stamp
from .us_colours import Palette, lightness, mix, pick_palette, vivid
from .us_layout import UsLayout
from .us_print import draw_frame, draw_names, draw_stickers

__all__ = ["draw_holes", "number_mask", "paint_us", "press", "round_corners"]


def paint_us(
    design: UsLayout, fonts: FontSet, rng: np.random.Generator, *, us: bool, plain: bool
) -> Image:
    """Paint the face, (H, W, 3) uint8.

    Args:
        design: Where everything stands.
        fonts: Fonts to draw with.
        rng: Source of all chance.
        us: 0 and O, 1 and I may share a shape.
        plain: Draw no backdrop, stickers or frame.
    """
    layout = design.plate
    palette = pick_palette(rng)
    dies = pick_dies(fonts, rng, us=us)
    face = _ground(layout, palette, rng)
    if not plain and chance(rng, 0.5):
        draw_backdrop(face, palette.ground, rng)
    scale = layout.px_per_mm
    if design.emblem_mm is not None:
        x, y, radius = (value * scale for value in design.emblem_mm)
        draw_emblem(face, x, y, radius, _beside_ink(vivid(rng), palette), rng)
    draw_names(face, palette, fonts, rng)
    mask = number_mask(layout, dies, rng)
    _stamp_all(mask, design.beside, dies, scale)
    press(face, mask, palette.ink, rng)
    if not plain:
        draw_stickers(face, scale, rng)
    draw_holes(face, layout, rng)
    if chance(rng, 0.5):
        _rim(face, palette, rng)
    if not plain and chance(rng, 0.14):
        draw_frame(face, rng)
    elif chance(rng, 0.7):
        round_corners(face, layout, rng)
    return face


def _beside_ink(colour: Colour, palette: Palette) -> Colour:
    """Fade a colour that is as dark as the ink, for an emblem may reach behind a character."""
    if abs(lightness(colour) - lightness(palette.ink)) >= 50:
        return colour
    return mix(colour, palette.ground, 0.5)


def _ground(layout: Layout, palette: Palette, rng: np.random.Generator) -> Image:
    """One colour, or one that fades into others above and below the characters."""
    scale = layout.px_per_mm
    width, height = round(layout.width_mm * scale), round(layout.height_mm * scale)
    places, colours = [0.0, 0.3, 0.75, 1.0], [palette.ground] * 4
    draw = rng.random()
    if draw < 0.27:
        places[1] = rng.uniform(0.08, 0.5)
        colours[0] = vivid(rng)
    if 0.17 < draw < 0.4:
        places[2] = rng.uniform(0.6, 0.92)
        colours[3] = vivid(rng)
    if 0.4 < draw < 0.48:
        # From edge to edge, so behind the characters, too.
        colours[:2] = [mix(palette.ground, vivid(rng), 0.4)] * 2
        places[1] = 0.05
    rows = np.linspace(0, 1, height)
    planes = [np.interp(rows, places, channel) for channel in zip(*colours, strict=True)]
    column = np.stack(planes, axis=1)[:, None]
    return as_image(np.repeat(np.clip(column, 0, 255).astype(np.uint8), width, axis=1))


def _stamp_all(mask: Mask, cells: tuple[Cell, ...], dies: Dies, px_per_mm: float) -> None:
    for cell in cells:
        stamp(mask, cell, dies.mask(cell.symbol), px_per_mm)


def number_mask(layout: Layout, dies: Dies, rng: np.random.Generator) -> Mask:
    """Coverage of the characters and their separators, (H, W)."""
    scale = layout.px_per_mm
    size = (round(layout.height_mm * scale), round(layout.width_mm * scale))
    mask = as_mask(np.zeros(size, np.uint8))
    _stamp_all(mask, layout.cells, dies, scale)
    tall = layout.cells[0].height_mm * scale
    for x, y in layout.dots_mm:
        centre = (round(x * scale * 16), round(y * scale * 16))
        cv2.circle(mask, centre, round(tall * rng.uniform(0.05, 0.1) * 16), (255,), -1, 16, 4)
    if layout.dash_mm is not None:
        x, y = layout.dash_mm[0] * scale, layout.dash_mm[1] * scale
        half_w, half_h = tall * rng.uniform(0.09, 0.2), tall * rng.uniform(0.035, 0.07)
        low, high = (round(x - half_w), round(y - half_h)), (round(x + half_w), round(y + half_h))
        cv2.rectangle(mask, low, high, (255,), -1)
    return mask


def press(face: Image, mask: Mask, ink: Colour, rng: np.random.Generator) -> None:
    """Lay the ink on, and light the slopes of embossed characters from one side."""
    # Only the rows with ink, which halves the work.
    rows = np.flatnonzero(mask.max(axis=1))
    top, below = max(0, int(rows[0]) - 2), int(rows[-1]) + 3
    mask = mask[top:below]
    if chance(rng, 0.06):  # a white line round each character
        grown = as_mask(cv2.dilate(mask, np.ones((3, 3), np.uint8)))
        lay_ink(face, grown, (245, 245, 245), 0, top)
    lay_ink(face, mask, ink, 0, top, 1 - 0.3 * rng.random() ** 3)
    if chance(rng, 0.3):  # printed flat
        return
    dx, dy = (float(v) for v in rng.uniform(-1.6, 1.6, 2))
    for sign, tone in ((1, 0.0), (-1, 255.0)):
        matrix = np.array([[1, 0, sign * dx], [0, 1, sign * dy]], np.float32)
        moved = cv2.warpAffine(mask, matrix, (mask.shape[1], mask.shape[0]))
        slope = as_mask(cv2.subtract(moved, mask))
        lay_ink(face, slope, (tone, tone, tone), 0, top, rng.uniform(0.0, 0.45))


def draw_holes(face: Image, layout: Layout, rng: np.random.Generator) -> None:
    """Draw slots, or the bolts in them."""
    scale = layout.px_per_mm
    bolts = chance(rng, 0.5)
    tone = float(rng.choice((30, 70, 130, 200, 235))) if bolts else float(rng.uniform(5, 60))
    colour = mix((tone, tone, tone), vivid(rng), 0.1)
    radius = rng.uniform(3.5, 8.0) if bolts else rng.uniform(2.0, 4.0)
    stretch = 1.0 if bolts else rng.uniform(1.0, 2.2)
    axes = (round(radius * stretch * scale * 16), round(radius * scale * 16))
    drift = rng.normal(0, 1.5, 2)
    for (x, y), draw in zip(layout.holes_mm, rng.random(len(layout.holes_mm)), strict=True):
        if draw < 0.2:
            continue
        centre = (round((x + drift[0]) * scale * 16), round((y + drift[1]) * scale * 16))
        cv2.ellipse(face, centre, axes, 0, 0, 360, colour, -1, cv2.LINE_AA, 4)
        if bolts and draw > 0.5:
            glint = (centre[0], centre[1] - round(radius * scale * 6))
            cv2.circle(face, glint, round(radius * scale * 5), (240, 240, 240), -1, cv2.LINE_AA, 4)


def _rim(face: Image, palette: Palette, rng: np.random.Generator) -> None:
    """The raised edge, painted or not."""
    height, width = face.shape[:2]
    inset = round(height * rng.uniform(0.01, 0.04))
    ends = ((inset, inset), (width - 1 - inset, height - 1 - inset))
    colour = palette.ink if chance(rng, 0.4) else mix(palette.ground, vivid(rng), 0.25)
    cv2.rectangle(face, *ends, colour, int(rng.integers(1, 4)), cv2.LINE_AA)


@lru_cache(maxsize=64)
def _outside(height: int, width: int, radius: int) -> tuple[NDArray[np.intp], ...]:
    """Rows and columns of the pixels outside a rectangle with rounded corners."""
    mask = np.ones((height, width), np.uint8)
    cv2.rectangle(mask, (radius, 0), (width - radius, height), (0,), -1)
    cv2.rectangle(mask, (0, radius), (width, height - radius), (0,), -1)
    for x in (radius, width - 1 - radius):
        for y in (radius, height - 1 - radius):
            cv2.circle(mask, (x, y), radius, (0,), -1)
    return np.nonzero(mask)


def round_corners(face: Image, layout: Layout, rng: np.random.Generator) -> None:
    """Show the car, dark or bright, at the corners."""
    radius = round(rng.uniform(6, 16) * layout.px_per_mm)
    tone = float(rng.choice((10, 40, 90, 160, 240)))
    face[_outside(*face.shape[:2], radius)] = tone
