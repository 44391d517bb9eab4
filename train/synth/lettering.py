"""Letters on Latin plates: the large ones of the number, and the small print round them.

Every issuer has dies of its own, so each plate draws its own shape of 0, 1, 6 and the like. Small
print comes from OpenCV's Hershey fonts, and from fonts of the machine where there are any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, TypeAlias

import cv2
import numpy as np

from .arrays import Image, Mask, as_image, as_mask, chance
from .fonts import FontSet, latin_mask, word_mask
from .strokes import STROKE_WIDTHS_MM, stroke_mask

__all__ = ["Colour", "Dies", "Face", "lay_ink", "pick_dies", "pick_face", "print_words"]

Colour: TypeAlias = tuple[float, float, float]
"""Blue, green, red in 0-255: what OpenCV draws with."""
Face: TypeAlias = int | Path
"""A typeface of the small print: a number of OpenCV's, or a font file."""

_COMMON: Final[Mapping[str, tuple[str, ...]]] = {
    "3": ("3round", "3round", "3"),
    "4": ("4", "4", "4open"),
    "6": ("6round", "6"),
    "7": ("7", "7straight"),
    "9": ("9round", "9"),
    "G": ("G", "Gspur"),
    "J": ("J", "J", "Jtop"),
    "M": ("M", "M", "Mdeep"),
    "R": ("R", "Rupright"),
    "W": ("W", "W", "Whigh"),
}
_US: Final[Mapping[str, tuple[str, ...]]] = {
    "0": ("0", "0", "0", "O", "0slash"),
    "1": ("1flag", "1flag", "1foot", "1", "1", "Iserif"),
    "I": ("I", "Iserif"),
    "O": ("0", "O"),
}
_LATIN: Final[Mapping[str, tuple[str, ...]]] = {
    # 0 and O, 1 and I are different labels here, so their shapes differ, too.
    "0": ("0", "0", "0slash"),
    "1": ("1flag", "1foot"),
    "I": ("I", "Iserif"),
}
_FONT_SHARE: Final = 0.25
"""Share of plates whose number is set in a font, against one typeface by heart."""
_HERSHEY: Final = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
    cv2.FONT_HERSHEY_SCRIPT_COMPLEX,
    cv2.FONT_HERSHEY_COMPLEX | cv2.FONT_ITALIC,
    cv2.FONT_HERSHEY_TRIPLEX | cv2.FONT_ITALIC,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dies:
    """The set of dies that one plate was pressed with."""

    shapes: Mapping[str, str]
    """Glyph name of every character that has several."""
    stroke_mm: float
    """Stroke width on a 45 x 90 mm cell."""
    font: Path | None
    """Font that takes the place of the strokes."""

    def mask(self, character: str) -> Mask:
        """Draw a character, (180, 90) uint8, read-only."""
        if self.font is not None:
            return latin_mask(self.font, character)
        return stroke_mask(self.shapes.get(character, character), self.stroke_mm)


def pick_dies(fonts: FontSet, rng: np.random.Generator, *, us: bool) -> Dies:
    """Draw the dies of one plate; ``us`` allows one shape for 0 and O, and for 1 and I."""
    table = {**_COMMON, **(_US if us else _LATIN)}
    draws = rng.random(len(table))
    from_font = bool(fonts.latin) and chance(rng, _FONT_SHARE)
    centre = rng.normal(9.5, 1.7)
    return Dies(
        shapes={
            key: names[int(draw * len(names))]
            for (key, names), draw in zip(table.items(), draws, strict=True)
        },
        stroke_mm=min(STROKE_WIDTHS_MM, key=lambda width: abs(width - centre)),
        font=fonts.latin[int(rng.integers(len(fonts.latin)))] if from_font else None,
    )


def pick_face(fonts: FontSet, rng: np.random.Generator) -> Face:
    """Draw a typeface for small print."""
    faces: tuple[Face, ...] = (*_HERSHEY, *fonts.words)
    return faces[int(rng.integers(len(faces)))]


@lru_cache(maxsize=2048)
def _hershey_mask(face: int, words: str, thickness: int) -> Mask:
    (width, height), below = cv2.getTextSize(words, face, 1.4, thickness)
    canvas = np.zeros((height + below + 24, width + 24), np.uint8)
    cv2.putText(canvas, words, (12, 12 + height), face, 1.4, (255,), thickness, cv2.LINE_AA)
    x, y, width, height = cv2.boundingRect(canvas)
    return as_mask(canvas[y : y + height, x : x + width])


def lay_ink(image: Image, mask: Mask, colour: Colour, x: int, y: int, share: float = 1.0) -> None:
    """Colour ``image`` where ``mask``, whose top left corner lies at (x, y), is 255.

    What lies outside the image is left out.
    """
    left, top = max(x, 0), max(y, 0)
    target = image[top : y + mask.shape[0], left : x + mask.shape[1]]
    if target.size == 0:
        return
    part = mask[top - y : top - y + target.shape[0], left - x : left - x + target.shape[1]]
    cover = part.astype(np.float32) * np.float32(share / 255)
    paint = np.empty_like(target)
    paint[:] = [min(255, max(0, round(value))) for value in colour]
    target[:] = as_image(cv2.blendLinear(target, paint, 1 - cover, cover))


def print_words(
    image: Image,
    words: str,
    face: Face,
    colour: Colour,
    *,
    centre: tuple[float, float],
    height: float,
    longest: float,
    thickness: int = 2,
) -> tuple[int, int, int, int]:
    """Print ``words`` round ``centre`` (x, y), pixels; returns their box (x, y, width, height).

    Args:
        image: (H, W, 3) to print on.
        words: What to print.
        face: The typeface.
        colour: The ink.
        centre: Middle of the words.
        height: Height of the ink.
        longest: Words that would be wider are squeezed to this width.
        thickness: Of Hershey strokes, on a letter of 30 px.
    """
    raw = (
        word_mask(face, words) if isinstance(face, Path) else _hershey_mask(face, words, thickness)
    )
    if raw.size == 0:
        return (round(centre[0]), round(centre[1]), 0, 0)
    tall = max(3, round(height))
    wide = max(3, round(min(longest, raw.shape[1] * tall / raw.shape[0])))
    mask = as_mask(cv2.resize(raw, (wide, tall), interpolation=cv2.INTER_AREA))
    x, y = round(centre[0] - wide / 2), round(centre[1] - tall / 2)
    lay_ink(image, mask, colour, x, y)
    return (x, y, wide, tall)
