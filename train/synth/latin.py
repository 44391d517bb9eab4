"""One picture of a US or other Latin plate, from its text."""

from __future__ import annotations

from typing import Final

import numpy as np

from .arrays import Image, chance
from .eu_layout import arrange_eu
from .eu_paint import paint_eu
from .fonts import FontSet
from .layout import Layout
from .sensor import record
from .snapshot import snapshot
from .texts import PlateText
from .us_layout import arrange_us
from .us_paint import paint_us

__all__ = ["render_latin"]

_STRAIGHT_SHARE: Final = 0.65
"""Share seen straight on, sharp and well lit, as most crops of photographs are."""
_PLAIN_SHARE: Final = 0.15
"""Share without backdrop and stickers: the characters are learnt sooner."""
_US_SHARE: Final = 0.25
"""Share of Latin plates of the size and looks of US ones: much of America has them."""


def render_latin(plate: PlateText, fonts: FontSet, rng: np.random.Generator) -> Image:
    """Draw a plate of ``us-plate`` or ``latin-plate``, (H, W, 3) uint8 BGR."""
    straight = chance(rng, _STRAIGHT_SHARE)
    strength = float(rng.uniform(0.02, 0.2) if straight else 0.25 + 0.5 * rng.random() ** 1.3)
    plain = chance(rng, _PLAIN_SHARE)
    us = plate.kind == "us-plate"
    if us or (len(plate.symbols) <= 8 and chance(rng, _US_SHARE)):
        design = arrange_us(plate, rng)
        layout = design.plate
        face = paint_us(design, fonts, rng, us=us, plain=plain)
    else:
        layout = arrange_eu(plate, rng)
        face = paint_eu(layout, fonts, rng, plain=plain)
    scene = snapshot(face, rng, strength=strength, free=_free(layout))
    return record(scene, rng, strength=strength)


def _free(layout: Layout) -> tuple[float, float]:
    """Smallest shares of width and height between the characters and an edge of the plate."""
    lefts = [cell.x_mm for cell in layout.cells]
    tops = [cell.y_mm for cell in layout.cells]
    rights = [layout.width_mm - cell.x_mm - cell.width_mm for cell in layout.cells]
    bottoms = [layout.height_mm - cell.y_mm - cell.height_mm for cell in layout.cells]
    across = max(0.0, min(*lefts, *rights)) / layout.width_mm
    upright = max(0.0, min(*tops, *bottoms)) / layout.height_mm
    return across, upright
