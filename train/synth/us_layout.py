"""Where things stand on a US plate: characters, small letters beside them, emblem, in millimetres.

All US plates measure 12 x 6 inches (305 x 152 mm, SAE J686). The characters take about half of
the height; the rest is free to each state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .arrays import chance
from .layout import Cell, Layout
from .texts import PlateText

__all__ = ["UsLayout", "arrange_us"]

_WIDTH_MM: Final = 305.0
_HEIGHT_MM: Final = 152.0
_HOLES_MM: Final = tuple((x, y) for x in (63.5, 241.5) for y in (14.0, 138.0))
"""Centres of the slots for the screws (SAE J686: 178 mm apart across, 121 mm or more upright)."""
SMALL: Final = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"
"""Characters of the small print beside the number."""
_LEFT, _RIGHT = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class UsLayout:
    """One US plate before paint."""

    plate: Layout
    """Its size, the characters of the label, their separator, the screw holes."""
    beside: tuple[Cell, ...]
    """Small letters stacked beside the characters; no part of the label."""
    emblem_mm: tuple[float, float, float] | None
    """Centre (x, y) and radius of a picture between or beside the characters."""


def arrange_us(plate: PlateText, rng: np.random.Generator) -> UsLayout:
    """Place the characters of ``plate``, and what its state puts beside them."""
    tall = _HEIGHT_MM * float(np.clip(rng.normal(0.47, 0.035), 0.4, 0.58))
    middle = _HEIGHT_MM * float(rng.normal(0.515, 0.022))
    edges = rng.uniform(6, 20, 2)
    emblem: tuple[float, float, float] | None = None
    beside: tuple[Cell, ...] = ()
    few = len(plate.symbols) <= 6
    if few and chance(rng, 0.2):
        radius = rng.uniform(18, 30)
        x = _reserve(edges, _LEFT if chance(rng, 0.85) else _RIGHT, 2 * radius, rng)
        emblem = (x + radius, middle + float(rng.normal(0, 8)), radius)
    if few and chance(rng, 0.22):
        wide = rng.uniform(13, 20)
        x = _reserve(edges, int(rng.integers(2)), wide, rng)
        beside = _stacked(x, middle, tall, wide, rng)
    in_gap = emblem is None and len(plate.groups) == 2 and chance(rng, 0.4)
    cells, gap = _number(plate, edges, (middle, tall), rng, emblem_in_gap=in_gap)
    mark = rng.random() if gap is not None else 1.0
    if gap is not None and in_gap:
        emblem = (gap[0], middle, gap[1] * rng.uniform(0.35, 0.8))
    separator = None if gap is None or in_gap else (gap[0], middle)
    return UsLayout(
        plate=Layout(
            width_mm=_WIDTH_MM,
            height_mm=_HEIGHT_MM,
            cells=cells,
            dots_mm=(separator,) if separator and 0.35 <= mark < 0.55 else (),
            dash_mm=separator if mark < 0.35 else None,
            holes_mm=_HOLES_MM,
            px_per_mm=0.8,
        ),
        beside=beside,
        emblem_mm=emblem,
    )


def _reserve(edges: NDArray[np.float64], side: int, wide: float, rng: np.random.Generator) -> float:
    """Take ``wide`` and some air from one side of the room; returns its left edge."""
    x = edges[_LEFT] if side == _LEFT else _WIDTH_MM - edges[_RIGHT] - wide
    edges[side] += wide + rng.uniform(2, 9)
    return float(x)


def _stacked(
    x: float, middle: float, tall: float, wide: float, rng: np.random.Generator
) -> tuple[Cell, ...]:
    """Two or three small characters above each other."""
    count = 2 if chance(rng, 0.75) else 3
    pitch = tall * rng.uniform(0.9, 1.05) / count
    top = middle - pitch * count / 2
    return tuple(
        Cell(
            symbol=SMALL[int(rng.integers(len(SMALL)))],
            x_mm=x,
            y_mm=top + index * pitch,
            width_mm=wide,
            height_mm=pitch * 0.86,
        )
        for index in range(count)
    )


def _number(
    plate: PlateText,
    edges: NDArray[np.float64],
    band: tuple[float, float],
    rng: np.random.Generator,
    *,
    emblem_in_gap: bool,
) -> tuple[tuple[Cell, ...], tuple[float, float] | None]:
    """Cells of the characters, and the middle and width of the first gap between groups.

    Args:
        plate: The text.
        edges: What is taken at the left and right of the plate.
        band: Middle and height of the characters.
        rng: Source of all chance.
        emblem_in_gap: Leave room for a picture.
    """
    middle, tall = band
    room = _WIDTH_MM - edges.sum()
    widths, gaps = _row(plate, tall, room, rng, emblem_in_gap=emblem_in_gap)
    spare = room - widths.sum() - gaps.sum()
    start = edges[_LEFT] + spare * float(np.clip(rng.normal(0.5, 0.12), 0, 1))
    lefts = start + np.concatenate([[0.0], np.cumsum(widths[:-1] + gaps)])
    # Embossing dies are set by hand: a little play between characters.
    play = rng.normal(0, 0.5, (2, len(lefts)))
    boxes = zip(plate.glyphs, lefts + play[0], middle - tall / 2 + play[1], widths, strict=True)
    cells = tuple(
        Cell(symbol=glyph, x_mm=float(x), y_mm=float(y), width_mm=float(w), height_mm=tall)
        for glyph, x, y, w in boxes
    )
    if len(plate.groups) < 2:
        return cells, None
    last = plate.groups[0] - 1
    return cells, (float(lefts[last] + widths[last] + gaps[last] / 2), float(gaps[last]))


def _row(
    plate: PlateText, tall: float, room: float, rng: np.random.Generator, *, emblem_in_gap: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Widths of the characters and gaps between them, together at most ``room`` wide."""
    count = len(plate.symbols)
    gaps = np.full(count - 1, tall * rng.uniform(0.06, 0.2) * min(1.0, 6 / count))
    parting = tall * rng.uniform(0.25, 0.7) * min(1.0, 6 / count)
    if emblem_in_gap:
        parting = rng.uniform(28, 52) * min(1.0, 6 / count)
    if emblem_in_gap or chance(rng, 0.9):
        gaps[np.cumsum(plate.groups[:-1], dtype=int) - 1] = parting
    shares = np.ones(count)
    if chance(rng, 0.3):
        shares[[glyph in "1I" for glyph in plate.glyphs]] = rng.uniform(0.45, 0.8)
    wide = min((room - gaps.sum()) / shares.sum(), tall * rng.uniform(0.4, 0.64))
    return shares * wide, gaps
