"""The face of a Chinese plate as it leaves the press: colours, border, characters, screws."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from runtime.errors import ConfigError

from .arrays import Mask, Picture, as_mask, as_picture, blend, chance, shade
from .colours import chinese_colours
from .fonts import FontSet, hanzi_mask, latin_mask
from .layout import Cell, Layout
from .strokes import STROKE_WIDTHS_MM, stroke_mask, variants
from .texts import PlateText

__all__ = ["paint", "stamp"]

_FONT_SHARE: Final = 0.2
"""Share of plates whose Latin characters come from a font, against one typeface by heart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hand:
    """How the characters of one plate are drawn."""

    stroke_mm: float
    latin: Path | None
    hanzi: Path | None
    weight: int
    variant: float
    """In [0, 1); 0 picks the shapes of Chinese plates."""


def paint(
    plate: PlateText, layout: Layout, fonts: FontSet, rng: np.random.Generator, *, plain: bool
) -> Picture:
    """Paint the face, (H, W, 3) reflectance in [0, 1].

    Args:
        plate: Text and kind.
        layout: Where the characters stand.
        fonts: Fonts to draw with.
        rng: Source of all chance.
        plain: Draw no screws, wear or faded ink.
    """
    size = (round(layout.width_mm * layout.px_per_mm), round(layout.height_mm * layout.px_per_mm))
    hand = _pick_hand(fonts, rng)
    ground, ink, accent = chinese_colours(plate, size, rng)
    main, red = _ink_masks(plate, layout, hand, size)
    _draw_marks(main, layout, rng)
    light_line = plate.colour in ("blue", "black")
    border = _border(size, rng, colour=None if light_line else ink)
    strength = 1.0 if plain else float(1 - 0.35 * rng.random() ** 2)
    face = _emboss(ground, main, rng)
    face = blend(face, border[1], border[0] * (0.6 + 0.4 * strength))
    for mask, colour in ((main, ink), (red, accent)):
        if mask.any():
            cover = as_picture(mask.astype(np.float32) * np.float32(strength / 255))
            face = blend(face, colour, cover)
    if not plain:
        _draw_screws(face, layout, rng)
    return face


def _pick_hand(fonts: FontSet, rng: np.random.Generator) -> _Hand:
    from_font = bool(fonts.latin) and chance(rng, _FONT_SHARE)
    centre = rng.normal(10.0, 1.4)
    nearest = min(STROKE_WIDTHS_MM, key=lambda width: abs(width - centre))
    return _Hand(
        stroke_mm=nearest,
        latin=fonts.latin[int(rng.integers(len(fonts.latin)))] if from_font else None,
        hanzi=fonts.cjk[int(rng.integers(len(fonts.cjk)))] if fonts.cjk else None,
        weight=int(rng.choice(4, p=(0.15, 0.35, 0.35, 0.15))),
        variant=float(rng.random() ** 2),
    )


def _symbol_mask(symbol: str, hand: _Hand) -> Mask:
    if len(symbol) > 1:  # WJ: the letters share one cell
        parts = [_symbol_mask(letter, hand) for letter in symbol]
        return as_mask(np.hstack([cv2.copyMakeBorder(p, 0, 0, 6, 6, 0) for p in parts]))
    if not symbol.isascii():
        if hand.hanzi is None:
            raise ConfigError(f"{symbol!r} needs a CJK font; call find_fonts(needs_cjk=True)")
        return hanzi_mask(hand.hanzi, symbol, hand.weight)
    if symbol == "1":  # a bare bar, whatever the font does
        return stroke_mask(symbol, hand.stroke_mm)
    if hand.latin is not None:
        return latin_mask(hand.latin, symbol)
    names = variants(symbol)
    return stroke_mask(names[int(hand.variant * len(names))], hand.stroke_mm)


def stamp(canvas: Mask, cell: Cell, mask: Mask, px_per_mm: float) -> None:
    """Scale ``mask`` to the cell and put it on ``canvas`` at sub-pixel position."""
    matrix = np.array(
        [
            [cell.width_mm * px_per_mm / mask.shape[1], 0, cell.x_mm * px_per_mm],
            [0, cell.height_mm * px_per_mm / mask.shape[0], cell.y_mm * px_per_mm],
        ]
    )
    x, y = int(matrix[0, 2]), int(matrix[1, 2])
    matrix[:, 2] -= (x, y)
    width = int(cell.width_mm * px_per_mm) + 2
    height = int(cell.height_mm * px_per_mm) + 2
    # Shrunk in two steps, because warpAffine does not average the pixels it skips.
    half = cv2.resize(mask, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    matrix[:, :2] *= 2
    tile = cv2.warpAffine(half, matrix, (width, height), flags=cv2.INTER_LINEAR)
    target = canvas[max(y, 0) : y + height, max(x, 0) : x + width]
    np.maximum(target, tile[: target.shape[0], : target.shape[1]], out=target)


def _ink_masks(
    plate: PlateText, layout: Layout, hand: _Hand, size: tuple[int, int]
) -> tuple[Mask, Mask]:
    """Coverage of the ordinary ink and of the red one."""
    main, red = np.zeros(size[::-1], np.uint8), np.zeros(size[::-1], np.uint8)
    reds = {"警": {len(layout.cells) - 1}, "military": {0, 1}, "armed-police": {0}}
    for index, cell in enumerate(layout.cells):
        target = red if index in reds.get(plate.kind, set()) else main
        stamp(target, cell, _symbol_mask(cell.symbol, hand), layout.px_per_mm)
    return main, red


def _draw_marks(ink: Mask, layout: Layout, rng: np.random.Generator) -> None:
    scale = layout.px_per_mm
    radius = round(rng.uniform(4.0, 6.5) * scale * 16)
    for x, y in layout.dots_mm:
        centre = (round(x * scale * 16), round(y * scale * 16))
        cv2.circle(ink, centre, radius, (255,), -1, cv2.LINE_AA, 4)
    if layout.dash_mm is not None:
        x, y = layout.dash_mm[0] * scale, layout.dash_mm[1] * scale
        cv2.rectangle(
            ink,
            (round(x - 7 * scale), round(y - 3 * scale)),
            (round(x + 7 * scale), round(y + 3 * scale)),
            (255,),
            -1,
        )


def _border(
    size: tuple[int, int], rng: np.random.Generator, *, colour: Picture | None
) -> tuple[Picture, Picture]:
    """Coverage (H, W) and colour (3,) of the line that runs round the plate; white by default."""
    cover = np.zeros(size[::-1], np.uint8)
    if chance(rng, 0.85):
        inset = size[1] * rng.uniform(0.015, 0.05)
        a, b = round(inset), round(size[0] - inset)
        line = max(1, round(size[1] * rng.uniform(0.012, 0.028)))
        cv2.rectangle(cover, (a, a), (b, round(size[1] - inset)), (255,), line, cv2.LINE_AA)
    grey = np.full(3, rng.uniform(0.75, 1.0), np.float32)
    return as_picture(cover.astype(np.float32) / 255), as_picture(
        grey
    ) if colour is None else colour


def _emboss(face: Picture, ink: Mask, rng: np.random.Generator) -> Picture:
    """Shade the slopes round the raised characters."""
    dx, dy = (int(v) for v in rng.integers(-2, 3, 2))
    depth = rng.uniform(0.0, 0.4)
    matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    moved = as_mask(cv2.warpAffine(ink, matrix, (ink.shape[1], ink.shape[0])))
    slopes = cv2.subtract(moved, ink).astype(np.float32) * np.float32(depth / 255)
    return shade(face, as_picture(1 - slopes))


def _draw_screws(face: Picture, layout: Layout, rng: np.random.Generator) -> None:
    if chance(rng, 0.2):
        return
    scale, sizes = layout.px_per_mm, rng.uniform(4, 9, 2)
    # Holders differ, and heads often touch the characters: a bolt must not turn A into Å.
    shift_x, shift_y = rng.normal(0, 11), rng.uniform(-5, 9)
    tone = float(rng.choice((0.08, 0.3, 0.6, 0.95, 0.95)))
    colour = tuple(float(v) for v in np.clip(tone + rng.normal(0, 0.05, 3), 0, 1))
    for (x, y), draw in zip(layout.holes_mm, rng.random(len(layout.holes_mm)), strict=True):
        if draw < 0.3:
            continue
        above = y < layout.height_mm / 2
        radius = sizes[0] if above else sizes[1]
        drop = shift_y if above else -shift_y
        centre = (round((x + shift_x) * scale), round((y + drop) * scale))
        cv2.circle(face, centre, max(1, round(radius * scale)), colour, -1, cv2.LINE_AA)
        if draw > 0.7:
            glint = (centre[0], centre[1] - 1)
            cv2.circle(face, glint, max(1, round(radius * scale / 3)), (0.9, 0.9, 0.9), -1)
