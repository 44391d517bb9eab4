"""Where the characters of a Chinese plate stand, in millimetres (GA 36-2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from .arrays import chance
from .texts import PlateText

__all__ = ["Cell", "Layout", "arrange"]

_DOT_GAP_MM: Final = 34.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One character and its box."""

    symbol: str
    x_mm: float
    y_mm: float
    width_mm: float
    height_mm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One plate before paint."""

    width_mm: float
    height_mm: float
    cells: tuple[Cell, ...]
    dots_mm: tuple[tuple[float, float], ...]
    """Centres of separator dots."""
    dash_mm: tuple[float, float] | None
    """Centre of a separator dash."""
    holes_mm: tuple[tuple[float, float], ...]
    """Centres of the screw holes."""
    px_per_mm: float
    """Scale at which the face is painted: finer than any crop, coarse enough to be fast."""


def arrange(plate: PlateText, rng: np.random.Generator) -> Layout:
    """Place the characters of a Chinese ``plate``; small differences between makers are drawn."""
    if plate.layers == "double":
        return _double(plate, rng)
    if plate.kind.startswith("energy"):
        return _energy(plate, rng)
    return _single(plate, rng)


def _row(
    symbols: tuple[str, ...], widths: list[float], gaps: list[float], *, span: float
) -> list[tuple[str, float, float]]:
    """Centre a row in ``span``; returns (symbol, left edge, width)."""
    x = (span - sum(widths) - sum(gaps)) / 2
    placed = []
    for symbol, width, gap in zip(symbols, widths, [*gaps, 0.0], strict=True):
        placed.append((symbol, x, width))
        x += width + gap
    return placed


def _cells(
    row: list[tuple[str, float, float]], y: float, height: float, rng: np.random.Generator
) -> tuple[Cell, ...]:
    # Embossing dies are set by hand: a little play between characters.
    shift = rng.normal(0, 0.8, (len(row), 2))
    return tuple(
        Cell(symbol=s, x_mm=x + dx, y_mm=y + dy, width_mm=w, height_mm=height)
        for (s, x, w), (dx, dy) in zip(row, shift, strict=True)
    )


def _single(plate: PlateText, rng: np.random.Generator) -> Layout:
    """440 x 140 mm: blue, yellow, black and white plates."""
    count = len(plate.symbols)
    dot_after = {"embassy": 4, "armed-police": 3}.get(plate.kind, 2)
    widths = [45.0] * count
    gaps = [12.0] * (count - 1)
    if count == 8:
        widths, gaps = [58.0, *[41.0] * 7], [8.0] * 7
    gaps[dot_after - 1] = _DOT_GAP_MM if count == 7 else 24.0
    row = _row(plate.symbols, widths, gaps, span=440)
    _, left, width = row[dot_after - 1]
    dot = (left + width + gaps[dot_after - 1] / 2, 70.0)
    return Layout(
        width_mm=440,
        height_mm=140,
        cells=_cells(row, 25, 90, rng),
        dots_mm=(dot,) if chance(rng, 0.88) else (),
        dash_mm=None,
        holes_mm=((115, 13), (325, 13), (115, 127), (325, 127)),
        px_per_mm=0.7,
    )


def _energy(plate: PlateText, rng: np.random.Generator) -> Layout:
    """480 x 140 mm: new-energy plates; a faint seal stands where others have the dot."""
    row = _row(plate.symbols, [45.0, *[43.0] * 7], [9.0, 49.0, *[9.0] * 5], span=480)
    return Layout(
        width_mm=480,
        height_mm=140,
        cells=_cells(row, 25, 90, rng),
        dots_mm=((row[1][1] + 43 + 24.5, 70.0),) if chance(rng, 0.35) else (),
        dash_mm=None,
        holes_mm=((130, 13), (350, 13), (130, 127), (350, 127)),
        px_per_mm=0.7,
    )


def _double(plate: PlateText, rng: np.random.Generator) -> Layout:
    """440 x 220 mm: rear plates of lorries and trailers."""
    top = _row(plate.symbols[:2], [80.0, 80.0], [60.0], span=440)
    low = _row(plate.symbols[2:], [65.0] * 5, [15.0] * 4, span=440)
    return Layout(
        width_mm=440,
        height_mm=220,
        cells=(*_cells(top, 15, 60, rng), *_cells(low, 90, 110, rng)),
        dots_mm=((220.0, 45.0),),
        dash_mm=None,
        holes_mm=((60, 45), (380, 45), (60, 208), (380, 208)),
        px_per_mm=0.55,
    )
