"""Small print of US plates: names, slogans, stickers and dealers' frames; no part of a label."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from .arrays import Image, chance
from .fonts import FontSet
from .lettering import Colour, pick_face, print_words
from .us_colours import Palette, lightness, mix, vivid
from .us_layout import SMALL

__all__ = ["draw_frame", "draw_names", "draw_stickers"]

_NAMES: Final = (
    "Alabama", "Alaska", "Arizona", "Arkansas", "California", "Colorado", "Connecticut",
    "Delaware", "Florida", "Georgia", "Hawaii", "Idaho", "Illinois", "Indiana", "Iowa", "Kansas",
    "Kentucky", "Louisiana", "Maine", "Maryland", "Massachusetts", "Michigan", "Minnesota",
    "Mississippi", "Missouri", "Montana", "Nebraska", "Nevada", "New Hampshire", "New Jersey",
    "New Mexico", "New York", "North Carolina", "Ohio", "Oklahoma", "Oregon", "Pennsylvania",
    "Rhode Island", "South Dakota", "Tennessee", "Texas", "Utah", "Vermont", "Virginia",
    "Washington, D.C.", "West Virginia", "Wisconsin", "Wyoming", "Alberta", "British Columbia",
    "Manitoba", "Ontario", "Quebec", "Jalisco", "Sonora", "Chile", "Panama",
)  # fmt: skip
_SLOGANS: Final = (
    "Garden State", "Ocean State", "Empire State", "The First State", "Live Free or Die",
    "10,000 Lakes", "Sunshine State", "Aloha State", "First in Flight", "Great Lakes",
    "Land of Enchantment", "In God We Trust", "Scenic", "Centennial 1890 - 1990", "Sample",
    "Friends of the Park", "Community College", "Firefighter", "Trailer", "Veteran", "Dealer",
    "The Spirit of the South", "Taxation without Representation", "Beautiful", "Explore",
)  # fmt: skip
_MONTHS: Final = (
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
)  # fmt: skip
_HAND_FACES: Final = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX)


def draw_names(image: Image, palette: Palette, fonts: FontSet, rng: np.random.Generator) -> None:
    """Print the name above, a slogan or county below, and the bands behind them."""
    height, width = image.shape[:2]
    head_first = chance(rng, 0.75)
    for above in (True, False):
        if chance(rng, 0.06 if above else 0.14):
            continue
        tall = height * (rng.uniform(0.09, 0.18) if above == head_first else rng.uniform(0.06, 0.1))
        y = height * (rng.uniform(0.1, 0.16) if above else rng.uniform(0.86, 0.92))
        colour = _band(image, palette, y, tall, rng)
        words = _words(rng, _NAMES if above == head_first else _SLOGANS)
        face = pick_face(fonts, rng) if words[1] else _HAND_FACES[int(rng.integers(3))]
        x = width * float(np.clip(rng.normal(0.5, 0.05), 0.35, 0.65))
        longest = width * rng.uniform(0.4, 0.78)
        weight = int(rng.integers(1, 5))
        box = print_words(
            image, words[0], face, colour,
            centre=(x, y), height=tall, longest=longest, thickness=weight,
        )  # fmt: skip
        if chance(rng, 0.12) and box[0] > 50:
            spot = (box[0] - rng.uniform(10, 25), y)
            small = _words(rng, _SLOGANS)[0].split()[0]
            print_words(
                image, small, _HAND_FACES[0], vivid(rng),
                centre=spot, height=tall * 0.5, longest=35, thickness=weight,
            )  # fmt: skip


def _words(rng: np.random.Generator, known: tuple[str, ...]) -> tuple[str, bool]:
    """Words to print, and whether they are worth keeping in the cache of a font."""
    if chance(rng, 0.65):
        words = known[int(rng.integers(len(known)))]
        return (words.upper() if chance(rng, 0.5) else words), True
    # Other countries, counties and schools: any letters.
    letters = "".join(chr(65 + int(v)) for v in rng.integers(0, 26, int(rng.integers(4, 15))))
    if chance(rng, 0.25):
        letters = f"www.{letters.lower()}.com"
    return (letters if chance(rng, 0.6) else letters.title()), False


def _band(
    image: Image, palette: Palette, y: float, tall: float, rng: np.random.Generator
) -> Colour:
    """Sometimes a band or a box behind the words; returns the colour that shows on it."""
    height, width = image.shape[:2]
    draw = rng.random()
    if draw > 0.3:
        # Ordinary print lies on whatever the ground is there, so it must differ from that.
        under = tuple(float(v) for v in image[min(height - 1, round(y)), width // 2])
        return _readable(palette.accent, (under[0], under[1], under[2]))
    colour = palette.accent if chance(rng, 0.6) else vivid(rng)
    half = tall * rng.uniform(0.6, 0.9)
    low, high = max(0.0, y - half), min(height, y + half)
    left = 0.0 if draw < 0.2 else width * rng.uniform(0.1, 0.3)
    if draw < 0.2:
        low, high = (0.0, high) if y < height / 2 else (low, float(height))
    ends = ((round(left), round(low)), (round(width - left), round(high)))
    cv2.rectangle(image, *ends, colour, -1, cv2.LINE_AA)
    white = (250.0, 250.0, 250.0)
    return _readable(white if chance(rng, 0.7) else palette.ground, colour)


def _readable(colour: Colour, under: Colour) -> Colour:
    if abs(lightness(colour) - lightness(under)) >= 60:
        return colour
    return (250.0, 250.0, 250.0) if lightness(under) < 128 else (30.0, 25.0, 25.0)


def draw_stickers(image: Image, px_per_mm: float, rng: np.random.Generator) -> None:
    """Stick month and year into the corners."""
    height, width = image.shape[:2]
    for right, below in ((0, 0), (1, 0), (0, 1), (1, 1)):
        if not chance(rng, 0.33):
            continue
        wide = rng.uniform(22, 38) * px_per_mm
        tall = rng.uniform(18, 27) * px_per_mm
        inset = rng.uniform(2, 12, 2) * px_per_mm
        x = width - inset[0] - wide / 2 if right else inset[0] + wide / 2
        y = height - inset[1] - tall / 2 if below else inset[1] + tall / 2
        _sticker(image, x, y, wide, tall, rng)


def _sticker(
    image: Image, x: float, y: float, wide: float, tall: float, rng: np.random.Generator
) -> None:
    ground = vivid(rng) if chance(rng, 0.65) else (240.0, 240.0, 240.0)
    bare = chance(rng, 0.2)  # embossed into the plate instead of stuck onto it
    if bare:
        at = image[int(np.clip(y, 0, image.shape[0] - 1)), int(np.clip(x, 0, image.shape[1] - 1))]
        ground = (float(at[0]), float(at[1]), float(at[2]))
    ink = _readable(vivid(rng), ground)
    low, high = (
        (round(x - wide / 2), round(y - tall / 2)),
        (round(x + wide / 2), round(y + tall / 2)),
    )
    if not bare:
        cv2.rectangle(image, low, high, ground, -1)
    if chance(rng, 0.4):
        cv2.rectangle(image, low, high, ink, 1)
    draw = rng.random()
    year = f"{int(rng.integers(0, 100)):02d}"
    words = (
        _MONTHS[int(rng.integers(12))]
        if draw < 0.35
        else year
        if draw < 0.75
        else f"{int(rng.integers(1, 13))}-{year}"
        if draw < 0.85
        else "".join(SMALL[int(v)] for v in rng.integers(0, len(SMALL), int(rng.integers(1, 4))))
    )
    face = _HAND_FACES[int(rng.integers(3))]
    print_words(
        image, words, face, ink, centre=(x, y + tall * rng.uniform(-0.05, 0.15)),
        height=tall * rng.uniform(0.4, 0.75), longest=wide * 0.85,
        thickness=int(rng.integers(2, 5)),
    )  # fmt: skip


def draw_frame(image: Image, rng: np.random.Generator) -> None:
    """Screw a dealer's frame over the edges; it may cover the lines above and below."""
    height, width = image.shape[:2]
    tone = float(rng.choice((15, 30, 60, 170, 225)))
    colour = mix((tone, tone, tone), vivid(rng), rng.uniform(0, 0.3))
    side = round(width * rng.uniform(0.01, 0.035))
    bars = [round(height * rng.uniform(0.03, 0.2)) for _ in range(2)]
    cv2.rectangle(image, (0, 0), (width, bars[0]), colour, -1)
    cv2.rectangle(image, (0, height - bars[1]), (width, height), colour, -1)
    cv2.rectangle(image, (0, 0), (side, height), colour, -1)
    cv2.rectangle(image, (width - side, 0), (width, height), colour, -1)
    for bar, y in ((bars[0], bars[0] / 2), (bars[1], height - bars[1] / 2)):
        if bar < height * 0.07 or chance(rng, 0.25):
            continue
        words, _ = _words(rng, _SLOGANS)
        ink = _readable(vivid(rng), colour)
        print_words(
            image, words, _HAND_FACES[int(rng.integers(3))], ink, centre=(width / 2, y),
            height=bar * 0.65, longest=width * rng.uniform(0.5, 0.85), thickness=2,
        )  # fmt: skip
