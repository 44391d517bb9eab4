"""A plate typeface of our own: centre lines on a 36 x 80 grid, drawn with an even round stroke.

Chinese plates use the GA 36 typeface, which no free font contains, so its Latin letters and
digits were drawn after photographs: 45 x 90 mm cells, strokes of about 10 mm, a bare bar for 1,
a flat-topped 3, straight stems on 6 and 9. The grid is the box of the centre lines: a stroke of
width ``t`` on a 45 x 90 mm cell leaves (45 - t) x (90 - t) for them, so a bolder stroke keeps
the outline of the glyph.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, TypeAlias

import cv2
import numpy as np

from .arrays import Mask, as_mask

__all__ = ["CELL_PX", "GLYPHS", "STROKE_WIDTHS_MM", "stroke_mask", "variants"]

Line: TypeAlias = tuple[tuple[float, float], ...]

CELL_PX: Final = (90, 180)
"""Width and height of a glyph mask: 2 px for each mm of a 45 x 90 mm cell."""
STROKE_WIDTHS_MM: Final = (7.0, 8.5, 9.5, 10.5, 11.5, 13.0)
_SUPERSAMPLING: Final = 3


def _arc(cx: float, cy: float, rx: float, ry: float, start: int, stop: int) -> Line:
    """Points of an ellipse arc; angles in degrees, 0 = right, 90 = down."""
    steps = max(3, abs(stop - start) // 10)
    angles = [math.radians(start + (stop - start) * i / steps) for i in range(steps + 1)]
    return tuple((cx + rx * math.cos(a), cy + ry * math.sin(a)) for a in angles)


def _turn(line: Line) -> Line:
    """Rotate by 180 degrees about the centre of the grid."""
    return tuple((36 - x, 80 - y) for x, y in line)


_RING: Final[Line] = (*_arc(18, 18, 18, 18, 180, 360), *_arc(18, 62, 18, 18, 0, 180), (0, 18))
_STEM: Final[Line] = ((0, 0), (0, 80))
_SIX: Final[tuple[Line, ...]] = (
    ((28, 0), (14, 22), (1.7, 46)),
    _arc(18, 56, 18, 24, 0, 360),
)
_SIX_ROUND: Final[tuple[Line, ...]] = (
    (*_arc(18, 20, 18, 20, 345, 180), *_arc(18, 58, 18, 22, 180, 540)),
)
_SEVEN: Final[Line] = ((0, 0), (36, 0), (34, 7), (25, 30), (19, 54), (17, 80))

GLYPHS: Final[Mapping[str, tuple[Line, ...]]] = {
    "0": (_RING,),
    "0slash": (_RING, ((4, 66), (32, 14))),
    "1": (((18, 0), (18, 80)),),
    "1flag": (((4, 18), (19, 0), (19, 80)),),
    "1foot": (((6, 16), (18, 0), (18, 80)), ((4, 80), (32, 80))),
    "2": ((*_arc(18, 18, 17, 18, 188, 388), (0, 80), (36, 80)),),
    "3": (((2, 0), (34, 0), (15, 31), *_arc(17, 55, 19, 25, 275, 525)),),
    "3round": ((*_arc(18, 19, 16, 19, 195, 450), *_arc(18, 59, 18, 21, 270, 525)),),
    "4": (((28, 0), (0, 60), (36, 60)), ((27, 4), (27, 80))),
    "4open": (((26, 0), (0, 60), (36, 60)), ((27, 32), (27, 80))),
    "5": (((33, 0), (5, 0), (3, 35), *_arc(17, 54, 19, 26, 225, 520)),),
    "6": _SIX,
    "6round": _SIX_ROUND,
    "7": (_SEVEN,),
    "7straight": (((0, 0), (36, 0), (14, 80)),),
    "8": (_arc(18, 19.5, 15.5, 19.5, 0, 360), _arc(18, 59.5, 18, 20.5, 0, 360)),
    "9": tuple(_turn(line) for line in _SIX),
    "9round": tuple(_turn(line) for line in _SIX_ROUND),
    "A": (((0, 80), (16, 0), (20, 0), (36, 80)), ((5, 58), (31, 58))),
    "B": (
        ((0, 37), (0, 0), *_arc(19, 18.5, 14, 18.5, 270, 450), (0, 37)),
        ((0, 37), *_arc(19, 58.5, 17, 21.5, 270, 450), (0, 80), (0, 37)),
    ),
    "C": (((36, 24), *_arc(18, 18, 18, 18, 360, 180), *_arc(18, 62, 18, 18, 180, 0), (36, 57)),),
    "D": (
        ((0, 0), *_arc(20, 16, 16, 16, 270, 360), *_arc(20, 64, 16, 16, 0, 90), (0, 80), (0, 0)),
    ),
    "E": (((35, 0), (0, 0), (0, 80), (35, 80)), ((0, 38), (30, 38))),
    "F": (((35, 0), (0, 0), (0, 80)), ((0, 38), (30, 38))),
    "G": (
        (
            (36, 22),
            *_arc(18, 18, 18, 18, 360, 180),
            *_arc(18, 62, 18, 18, 180, 0),
            (36, 45),
            (20, 45),
        ),
    ),
    "Gspur": (
        (
            (36, 22),
            *_arc(18, 18, 18, 18, 360, 180),
            *_arc(18, 62, 18, 18, 180, 0),
            (36, 44),
            (22, 44),
        ),
        ((36, 44), (36, 80)),
    ),
    "H": (_STEM, ((36, 0), (36, 80)), ((0, 38), (36, 38))),
    "I": (((18, 0), (18, 80)),),
    "Iserif": (((18, 0), (18, 80)), ((6, 0), (30, 0)), ((6, 80), (30, 80))),
    "J": (((34, 0), *_arc(17, 62, 17, 18, 0, 180)),),
    "Jtop": (((12, 0), (34, 0), *_arc(17, 62, 17, 18, 0, 180)),),
    "K": (_STEM, ((33, 0), (0, 49)), ((12, 32), (36, 80))),
    "L": (((0, 0), (0, 80), (35, 80)),),
    "M": (((0, 80), (0, 0), (18, 38), (36, 0), (36, 80)),),
    "Mdeep": (((0, 80), (0, 0), (18, 66), (36, 0), (36, 80)),),
    "N": (((0, 80), (0, 0), (36, 80), (36, 0)),),
    "O": (_arc(18, 40, 18, 40, 0, 360),),
    "P": (((0, 80), (0, 0), *_arc(18, 22, 18, 22, 270, 450), (0, 44)),),
    "Q": (_RING, ((19, 56), (37, 80))),
    "Rupright": (
        ((0, 80), (0, 0), *_arc(18, 21, 17, 21, 270, 450), (0, 42)),
        ((20, 42), (33, 54), (35, 80)),
    ),
    "R": (((0, 80), (0, 0), *_arc(18, 21, 17, 21, 270, 450), (0, 42)), ((17, 42), (36, 80))),
    "S": ((*_arc(18, 20, 17, 20, 345, 110), *_arc(18, 60, 18, 20, 285, 525)),),
    "T": (((0, 0), (36, 0)), ((18, 0), (18, 80))),
    "U": (((0, 0), *_arc(18, 62, 18, 18, 180, 0), (36, 0)),),
    "V": (((0, 0), (17, 80), (19, 80), (36, 0)),),
    "W": (((0, 0), (8, 80), (18, 28), (28, 80), (36, 0)),),
    "Whigh": (((0, 0), (7, 80), (18, 6), (29, 80), (36, 0)),),
    "X": (((1, 0), (36, 80)), ((35, 0), (0, 80))),
    "Y": (((0, 0), (18, 40), (36, 0)), ((18, 40), (18, 80))),
    "Z": (((1, 0), (35, 0), (0, 80), (36, 80)),),
}
"""Centre lines by name: a character, or a character and the name of a variant."""

_VARIANTS: Final[Mapping[str, tuple[str, ...]]] = {
    "1": ("1", "1flag", "1foot"),
    "3": ("3", "3round"),
    "4": ("4", "4open"),
    "7": ("7", "7straight"),
    "I": ("I", "Iserif"),
}


def variants(character: str) -> tuple[str, ...]:
    """Names of the shapes a character may take, the one of Chinese plates first."""
    return _VARIANTS.get(character, (character,))


@lru_cache(maxsize=4096)
def stroke_mask(name: str, stroke_mm: float) -> Mask:
    """Draw one glyph, (180, 90) uint8, read-only because it is shared.

    Args:
        name: A key of ``GLYPHS``.
        stroke_mm: Stroke width on a 45 x 90 mm cell.
    """
    width, height = (side * _SUPERSAMPLING for side in CELL_PX)
    px_per_mm = width / 45
    canvas = np.zeros((height, width), np.uint8)
    for line in GLYPHS[name]:
        points = np.array(line, np.float64)
        points *= ((45 - stroke_mm) / 36, (90 - stroke_mm) / 80)
        points = (points + stroke_mm / 2) * px_per_mm
        fixed = np.round(points * 16).astype(np.int32).reshape(-1, 1, 2)
        cv2.polylines(
            canvas,
            [fixed],
            isClosed=False,
            color=(255,),
            thickness=round(stroke_mm * px_per_mm),
            shift=4,
        )
    mask = as_mask(cv2.resize(canvas, CELL_PX, interpolation=cv2.INTER_AREA))
    mask.flags.writeable = False
    return mask
