"""Colours of US plates: ground, ink and the accents of names, bands and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from .arrays import chance
from .colours import hsv
from .lettering import Colour

__all__ = ["Palette", "lightness", "mix", "pick_palette", "vivid"]

_Ranges: TypeAlias = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
"""Hue in degrees, saturation, value."""

_LIGHT_GROUNDS: Final[tuple[tuple[float, _Ranges], ...]] = (
    (0.56, ((190, 260), (0.0, 0.08), (0.86, 1.0))),  # white
    (0.12, ((38, 56), (0.08, 0.45), (0.86, 1.0))),  # cream
    (0.10, ((40, 56), (0.5, 1.0), (0.85, 1.0))),  # yellow
    (0.14, ((192, 226), (0.08, 0.42), (0.78, 1.0))),  # sky
    (0.07, ((90, 170), (0.06, 0.35), (0.78, 0.98))),  # pale green
    (0.04, ((8, 32), (0.1, 0.5), (0.85, 1.0))),  # peach
    (0.03, ((200, 240), (0.0, 0.1), (0.55, 0.75))),  # bare metal
)
_DARK_INKS: Final[tuple[tuple[float, _Ranges], ...]] = (
    (0.40, ((212, 246), (0.55, 1.0), (0.2, 0.62))),  # navy to blue
    (0.32, ((0, 360), (0.0, 0.4), (0.02, 0.2))),  # black
    (0.12, ((140, 180), (0.5, 1.0), (0.18, 0.45))),  # green
    (0.11, ((-10, 8), (0.7, 1.0), (0.5, 0.8))),  # red
    (0.05, ((0, 360), (0.4, 1.0), (0.15, 0.4))),
)
_DARK_GROUNDS: Final[tuple[tuple[float, _Ranges], ...]] = (
    (0.36, ((205, 240), (0.6, 1.0), (0.2, 0.6))),  # blue
    (0.16, ((0, 360), (0.0, 0.3), (0.02, 0.18))),  # black
    (0.20, ((135, 175), (0.4, 1.0), (0.2, 0.45))),  # green
    (0.10, ((178, 195), (0.6, 1.0), (0.4, 0.65))),  # teal
    (0.12, ((-10, 14), (0.6, 1.0), (0.3, 0.6))),  # red to brown
    (0.06, ((0, 360), (0.4, 1.0), (0.2, 0.4))),
)
_LIGHT_INKS: Final[tuple[tuple[float, _Ranges], ...]] = (
    (0.6, ((30, 260), (0.0, 0.1), (0.88, 1.0))),  # white
    (0.4, ((38, 56), (0.35, 0.95), (0.85, 1.0))),  # gold
)
_LEAST_CONTRAST: Final = 80.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """Paints of one plate."""

    ground: Colour
    """Behind the characters."""
    ink: Colour
    """The characters."""
    accent: Colour
    """Names, bands and pictures."""


def lightness(colour: Colour) -> float:
    """Luma of ITU-R BT.601, 0-255."""
    blue, green, red = colour
    return 0.114 * blue + 0.587 * green + 0.299 * red


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return ``first`` with ``share`` of ``second``."""
    blue, green, red = ((1 - share) * a + share * b for a, b in zip(first, second, strict=True))
    return (blue, green, red)


def vivid(rng: np.random.Generator) -> Colour:
    """Any colour of print: saturated or not, light or dark."""
    return _colour(((0, 360), (0.3, 1.0), (0.3, 1.0)), rng)


def pick_palette(rng: np.random.Generator) -> Palette:
    """Draw paints with a contrast that a reader can rely on; three of four grounds are light."""
    light = chance(rng, 0.82)
    ground = _draw(_LIGHT_GROUNDS if light else _DARK_GROUNDS, rng)
    ink = _draw(_DARK_INKS if light else _LIGHT_INKS, rng)
    if not abs(lightness(ground) - lightness(ink)) >= _LEAST_CONTRAST:
        ink = (20.0, 15.0, 15.0) if light else (245.0, 250.0, 250.0)
    draw = rng.random()
    accent = ink if draw < 0.45 else _draw(_DARK_INKS, rng) if light and draw < 0.8 else vivid(rng)
    return Palette(ground=ground, ink=ink, accent=accent)


def _colour(ranges: _Ranges, rng: np.random.Generator) -> Colour:
    hue, saturation, value = (float(rng.uniform(low, high)) for low, high in ranges)
    blue, green, red = (float(v) * 255 for v in hsv(hue, saturation, value))
    return (blue, green, red)


def _draw(table: tuple[tuple[float, _Ranges], ...], rng: np.random.Generator) -> Colour:
    edges = np.cumsum([weight for weight, _ in table])
    place = int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))
    return _colour(table[min(place, len(table) - 1)][1], rng)
