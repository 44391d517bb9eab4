"""Where the characters of European, Asian and South American plates stand, in millimetres."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .arrays import chance
from .layout import Cell, Layout
from .texts import PlateText

__all__ = ["arrange_eu"]

_LONG_MM: Final = ((520, 112, 0.6), (440, 120, 0.12), (400, 130, 0.16), (470, 110, 0.12))
"""Width, height and share: Europe, older European and Asian plates, Mercosur, Vietnam."""
_TWO_ROWS_MM: Final = ((280, 200), (340, 200), (200, 160), (330, 165))
_TWO_ROWS_SHARE: Final = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sheet:
    """The metal: its size, and where rows of characters may stand on it."""

    width_mm: float
    height_mm: float
    tall_mm: float
    rows: tuple[tuple[int, int, float], ...]
    """First symbol, end and upper edge of each row."""
    room_mm: tuple[float, float]
    """Left and right end of a row."""


def arrange_eu(plate: PlateText, rng: np.random.Generator) -> Layout:
    """Place the characters of ``plate`` in one row, or in two where it has several groups."""
    two = len(plate.groups) > 1 and chance(rng, _TWO_ROWS_SHARE)
    sheet = _two_rows(plate, rng) if two else _one_row(plate, rng)
    cells: list[Cell] = []
    dots: list[tuple[float, float]] = []
    dash = None
    mark = rng.random()
    for start, stop, y in sheet.rows:
        parted = _partings(plate.groups, start, stop)
        boxes, gaps = _row(stop - start, parted, sheet, rng)
        cells += (
            Cell(symbol=glyph, x_mm=x, y_mm=y, width_mm=w, height_mm=sheet.tall_mm)
            for glyph, (x, w) in zip(plate.glyphs[start:stop], boxes, strict=True)
        )
        if gaps and mark < 0.2:
            dash = (gaps[0], y + sheet.tall_mm / 2)
        elif gaps and mark < 0.4:
            dots.append((gaps[-1], y + sheet.tall_mm * (0.5 if mark < 0.3 else 0.9)))
    holes = tuple((sheet.width_mm * x, sheet.height_mm / 2) for x in (0.13, 0.88))
    return Layout(
        width_mm=sheet.width_mm,
        height_mm=sheet.height_mm,
        cells=tuple(cells),
        dots_mm=tuple(dots),
        dash_mm=dash,
        holes_mm=holes if chance(rng, 0.3) else (),
        px_per_mm=0.55 if sheet.width_mm > 380 else 0.75,
    )


def _one_row(plate: PlateText, rng: np.random.Generator) -> _Sheet:
    shares = np.cumsum([share for _, _, share in _LONG_MM])
    width, height, _ = _LONG_MM[int(np.searchsorted(shares, rng.random() * shares[-1]))]
    tall = height * rng.uniform(0.62, 0.76)
    banded = chance(rng, 0.7)
    both = banded and chance(rng, 0.25)
    ends = (0.105 if banded else 0.03, 0.905 if both else 0.975)
    top = (height - tall) * rng.uniform(0.42, 0.6)
    return _Sheet(
        width_mm=width,
        height_mm=height,
        tall_mm=tall,
        rows=((0, len(plate.glyphs), top),),
        room_mm=(width * ends[0], width * ends[1]),
    )


def _two_rows(plate: PlateText, rng: np.random.Generator) -> _Sheet:
    width, height = _TWO_ROWS_MM[int(rng.integers(len(_TWO_ROWS_MM)))]
    # The cut that leaves the rows most alike in length.
    ends = np.cumsum(plate.groups[:-1])
    cut = int(ends[np.argmin(np.abs(ends - len(plate.glyphs) / 2))])
    tall = height * rng.uniform(0.36, 0.41)
    top = height * rng.uniform(0.06, 0.09)
    return _Sheet(
        width_mm=width,
        height_mm=height,
        tall_mm=tall,
        rows=((0, cut, top), (cut, len(plate.glyphs), height - top - tall)),
        room_mm=(width * 0.04, width * 0.96),
    )


def _partings(groups: tuple[int, ...], start: int, stop: int) -> NDArray[np.intp]:
    """Indices of the wide gaps in the row of the symbols ``start`` to ``stop``."""
    ends = np.cumsum(groups[:-1], dtype=int) if groups else np.zeros(0, int)
    return np.asarray(ends[(ends > start) & (ends < stop)] - start - 1)


def _row(
    count: int, parted: NDArray[np.intp], sheet: _Sheet, rng: np.random.Generator
) -> tuple[list[tuple[float, float]], list[float]]:
    """(left edge, width) of the characters of a row, and the middles of its wide gaps."""
    tall, room = sheet.tall_mm, sheet.room_mm
    gaps = np.full(count - 1, tall * rng.uniform(0.08, 0.17))
    gaps[parted] = tall * rng.uniform(0.25, 0.6)
    space = room[1] - room[0]
    gaps *= min(1.0, 0.35 * space / max(gaps.sum(), 1.0))
    wide = min((space - gaps.sum()) / count, tall * rng.uniform(0.5, 0.7))
    spare = space - wide * count - gaps.sum()
    lefts = room[0] + spare * rng.uniform(0.3, 0.7)
    lefts = lefts + np.concatenate([[0.0], np.cumsum(wide + gaps)])
    middles = [float(lefts[index] + wide + gaps[index] / 2) for index in parted]
    return [(float(x), float(wide)) for x in lefts], middles
