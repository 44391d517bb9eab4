"""Pictures on US plates, drawn by chance: emblems of a few millimetres, and backdrops.

Nothing here is the emblem of any state. What a reader must learn is that there may be a
picture between, beside or behind the characters, and that it is not one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from .arrays import Image, chance
from .lettering import Colour
from .us_colours import mix, vivid

__all__ = ["draw_backdrop", "draw_emblem"]

_Points: TypeAlias = NDArray[np.floating]
"""(n, 2) x and y, pixels."""
_Drawing: TypeAlias = Callable[[Image, float, float, float, Colour, np.random.Generator], None]
_Backdrop: TypeAlias = Callable[[Image, Colour, np.random.Generator], None]
_SHIFT: Final = 4
"""Fractional bits of OpenCV's coordinates."""


def draw_emblem(
    image: Image, x: float, y: float, radius: float, colour: Colour, rng: np.random.Generator
) -> None:
    """Draw any emblem round (x, y), pixels, onto ``image``."""
    _EMBLEMS[int(rng.integers(len(_EMBLEMS)))](image, x, y, radius, colour, rng)


def draw_backdrop(image: Image, ground: Colour, rng: np.random.Generator) -> None:
    """Draw a picture over the whole face; faint, for it lies behind the characters."""
    layer = image.copy()
    _BACKDROPS[int(rng.integers(len(_BACKDROPS)))](layer, ground, rng)
    share = rng.uniform(0.1, 0.55)
    cv2.addWeighted(layer, share, image, 1 - share, 0, dst=image)


def _fixed(points: _Points) -> NDArray[np.int32]:
    return np.round(np.asarray(points) * 2**_SHIFT).astype(np.int32).reshape(-1, 1, 2)


def _fill(image: Image, points: _Points, colour: Colour) -> None:
    cv2.fillPoly(image, [_fixed(points)], colour, cv2.LINE_AA, _SHIFT)


def _outline(image: Image, points: _Points, colour: Colour, thickness: int) -> None:
    cv2.polylines(image, [_fixed(points)], True, colour, thickness, cv2.LINE_AA, _SHIFT)


def _disc(image: Image, x: float, y: float, radius: float, colour: Colour, line: int = -1) -> None:
    centre = (round(x * 2**_SHIFT), round(y * 2**_SHIFT))
    size = max(1, round(radius * 2**_SHIFT))
    cv2.circle(image, centre, size, colour, line, cv2.LINE_AA, _SHIFT)


def _around(x: float, y: float, radii: NDArray[np.floating], turn: float = 0.0) -> _Points:
    """Points at ``radii`` from (x, y), evenly spread over the circle."""
    angles = turn + np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
    return np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1)


def _blob(rng: np.random.Generator, x: float, y: float, radius: float, rough: float) -> _Points:
    """A closed outline such as that of a county or an animal, (n, 2)."""
    count = int(rng.integers(9, 26))
    radii = radius * np.clip(1 + rng.normal(0, rough, count), 0.3, 1.4)
    stretch = np.array([rng.uniform(0.7, 1.3), rng.uniform(0.7, 1.2)])
    centre = np.array([x, y])
    return np.asarray(centre + (_around(x, y, radii, rng.uniform(0, 6)) - centre) * stretch)


def _county(
    image: Image, x: float, y: float, radius: float, colour: Colour, rng: np.random.Generator
) -> None:
    points = _blob(rng, x, y, radius, 0.2)
    if chance(rng, 0.6):
        _fill(image, points, colour)
    _outline(image, points, mix(colour, vivid(rng), 0.6), int(rng.integers(1, 3)))


def _animal(
    image: Image, x: float, y: float, radius: float, colour: Colour, rng: np.random.Generator
) -> None:
    """A body, a head and legs."""
    side = 1 if chance(rng, 0.5) else -1
    body = _blob(rng, x, y, radius * 0.6, 0.15)
    legs = [x + side * radius * step for step in (-0.45, -0.25, 0.2, 0.4)]
    for leg in legs:
        foot = leg + rng.normal(0, 0.12) * radius
        shape = np.array([(leg - 1, y), (leg + 2, y), (foot + 1, y + radius), (foot, y + radius)])
        _fill(image, shape, colour)
    _fill(image, body, colour)
    head = (x + side * radius * 0.75, y - radius * rng.uniform(0.3, 0.7))
    neck = np.array([(x, y), (x + side * radius * 0.5, y + 2), head])
    _fill(image, neck, colour)
    _disc(image, *head, radius * rng.uniform(0.18, 0.3), colour)


def _flower(
    image: Image, x: float, y: float, radius: float, colour: Colour, rng: np.random.Generator
) -> None:
    petals = int(rng.integers(4, 9))
    ring = np.full(petals, radius * 0.58)
    for px, py in _around(x, y, ring, rng.uniform(0, 6)):
        _disc(image, px, py, radius * 0.4, colour)
    _disc(image, x, y, radius * rng.uniform(0.2, 0.45), vivid(rng))


def _star(
    image: Image, x: float, y: float, radius: float, colour: Colour, rng: np.random.Generator
) -> None:
    """A star, a sun or a gear."""
    tips = int(rng.integers(4, 17))
    radii = np.tile([radius, radius * rng.uniform(0.35, 0.7)], tips)
    _fill(image, _around(x, y, radii, -np.pi / 2), colour)
    if chance(rng, 0.5):
        _disc(image, x, y, radius * rng.uniform(0.2, 0.5), vivid(rng))


def _cross(
    image: Image, x: float, y: float, radius: float, colour: Colour, rng: np.random.Generator
) -> None:
    """Rays in four directions round a disc."""
    for offset in np.linspace(-0.3, 0.3, int(rng.integers(2, 5))) * radius:
        reach = radius * rng.uniform(0.7, 1.0)
        for ends in (
            ((x - reach, y + offset), (x + reach, y + offset)),
            ((x + offset, y - reach), (x + offset, y + reach)),
        ):
            start, stop = (tuple(int(v * 16) for v in end) for end in ends)
            cv2.line(image, start, stop, colour, 1, cv2.LINE_AA, _SHIFT)
    _disc(image, x, y, radius * 0.35, vivid(rng))


def _tree(
    image: Image, x: float, y: float, radius: float, colour: Colour, rng: np.random.Generator
) -> None:
    slim = radius * rng.uniform(0.35, 0.7)
    trunk = np.array([(x - 1, y), (x + 2, y), (x + 2, y + radius), (x - 1, y + radius)])
    _fill(image, trunk, mix(colour, (20, 40, 70), 0.6))
    if chance(rng, 0.4):  # palm, oak
        _fill(image, _blob(rng, x, y - radius * 0.3, radius * 0.7, 0.25), colour)
        return
    for level in range(4):
        top = y - radius * (1 - level * 0.42)
        half = slim * (0.4 + 0.2 * level)
        shape = np.array([(x, top), (x + half, top + radius * 0.6), (x - half, top + radius * 0.6)])
        _fill(image, shape, colour)


def _seal(
    image: Image, x: float, y: float, radius: float, colour: Colour, rng: np.random.Generator
) -> None:
    """Rings with lettering too small to read."""
    _disc(image, x, y, radius, colour if chance(rng, 0.5) else (245, 245, 245))
    _disc(image, x, y, radius, vivid(rng), 2)
    for px, py in _around(x, y, np.full(int(rng.integers(8, 24)), radius * 0.78)):
        _disc(image, px, py, max(0.6, radius * 0.07), mix(colour, (255, 255, 255), rng.random()))
    inner = vivid(rng)
    if chance(rng, 0.5):
        _star(image, x, y, radius * 0.5, inner, rng)
    else:
        _fill(image, _blob(rng, x, y, radius * 0.45, 0.3), inner)


def _flag(
    image: Image, x: float, y: float, radius: float, colour: Colour, rng: np.random.Generator
) -> None:
    """Bars, with or without stars above."""
    bars = int(rng.integers(2, 6))
    pitch = 1.6 * radius / (2 * bars)
    for index in range(bars):
        top = y - radius * 0.4 + 2 * index * pitch
        low, high = (round(x - radius), round(top)), (round(x + radius), round(top + pitch))
        cv2.rectangle(image, low, high, colour, -1)
    if chance(rng, 0.6):
        for step in (-0.6, 0, 0.6):
            _star(image, x + step * radius, y - radius * 0.7, radius * 0.22, colour, rng)


def _tower(
    image: Image, x: float, y: float, radius: float, colour: Colour, rng: np.random.Generator
) -> None:
    """A lighthouse, a statue, a rocket: upright and slim, or stacked boxes."""
    top = y - radius
    for level in range(int(rng.integers(2, 6))):
        half = radius * rng.uniform(0.12, 0.4)
        below = top + radius * rng.uniform(0.3, 0.8)
        shade = colour if level % 2 else mix(colour, vivid(rng), 0.5)
        shape = np.array([(x - half, top), (x + half, top), (x + half * 1.2, below)])
        _fill(image, np.vstack([shape, [(x - half * 1.2, below)]]), shade)
        top = below


def _wheelchair(
    image: Image, x: float, y: float, radius: float, colour: Colour, _: np.random.Generator
) -> None:
    """The sign of access, of which parts look like characters."""
    line = max(1, round(radius * 0.16))
    _disc(image, x - radius * 0.1, y + radius * 0.35, radius * 0.55, colour, line)
    _disc(image, x - radius * 0.15, y - radius * 0.8, radius * 0.16, colour)
    steps = np.array([(-0.15, -0.6), (-0.1, 0.05), (0.4, 0.05), (0.6, 0.7), (0.85, 0.6)])
    path = _fixed(np.array([x, y]) + steps * radius)
    cv2.polylines(image, [path], False, colour, line, cv2.LINE_AA, _SHIFT)


_EMBLEMS: Final[Sequence[_Drawing]] = (
    _county, _animal, _flower, _star, _cross, _tree, _seal, _flag, _tower, _wheelchair,
)  # fmt: skip


def _horizon(width: int, low: float, high: float, points: int, rng: np.random.Generator) -> _Points:
    return np.stack([np.linspace(-2, width + 2, points), rng.uniform(low, high, points)], axis=1)


def _mountains(image: Image, ground: Colour, rng: np.random.Generator) -> None:
    """One or two ridges or rows of hills that rise from the lower edge."""
    height, width = image.shape[:2]
    for _ in range(int(rng.integers(1, 3))):
        level = rng.uniform(0.35, 0.85) * height
        count = int(rng.integers(4, 24))
        ridge = _horizon(width, level - rng.uniform(0.05, 0.3) * height, level, count, rng)
        foot = np.array([(width + 2, height + 2), (-2, height + 2)])
        _fill(image, np.vstack([ridge, foot]), mix(ground, vivid(rng), rng.uniform(0.3, 1)))


def _rainbow(image: Image, _: Colour, rng: np.random.Generator) -> None:
    height, width = image.shape[:2]
    centre = (int(width * rng.uniform(0.4, 0.6)), int(height * rng.uniform(0.8, 1.1)))
    line = int(rng.integers(2, 6))
    reach = width * rng.uniform(0.35, 0.52)
    for index, colour in enumerate(((80, 80, 230), (60, 180, 250), (90, 200, 90), (220, 140, 60))):
        axes = (int(reach - index * line), int((reach - index * line) * 0.75))
        cv2.ellipse(image, centre, axes, 0, 180, 360, colour, line, cv2.LINE_AA)


def _rays(image: Image, ground: Colour, rng: np.random.Generator) -> None:
    height, width = image.shape[:2]
    x, y = rng.uniform(0, width), rng.uniform(0.3, 1.1) * height
    colour = mix(ground, vivid(rng), rng.uniform(0.3, 1))
    tips = int(rng.integers(8, 24))
    _fill(image, _around(x, y, np.tile([float(width), height * 0.15], tips)), colour)


def _map(image: Image, ground: Colour, rng: np.random.Generator) -> None:
    height, width = image.shape[:2]
    x, y = rng.uniform(0.25, 0.75) * width, rng.uniform(0.4, 0.6) * height
    points = _blob(rng, x, y, height * rng.uniform(0.3, 0.6), 0.2)
    colour = mix(ground, vivid(rng), rng.uniform(0.3, 1))
    if chance(rng, 0.5):
        _fill(image, points, colour)
    else:
        _outline(image, points, colour, int(rng.integers(1, 3)))


def _sweep(image: Image, ground: Colour, rng: np.random.Generator) -> None:
    """Broad diagonal or curved bands."""
    height, width = image.shape[:2]
    for _ in range(int(rng.integers(1, 4))):
        centre = (int(rng.uniform(-0.2, 1.2) * width), int(rng.uniform(-0.3, 1.3) * height))
        axes = (int(rng.uniform(0.3, 1.0) * width), int(rng.uniform(0.3, 1.2) * height))
        line = int(rng.integers(2, 24))
        colour = mix(ground, vivid(rng), rng.uniform(0.3, 1))
        cv2.ellipse(image, centre, axes, rng.uniform(-40, 40), 0, 360, colour, line, cv2.LINE_AA)


def _painting(image: Image, ground: Colour, rng: np.random.Generator) -> None:
    """Soft patches of several colours: clouds, woods, a photograph out of focus."""
    height, width = image.shape[:2]
    cells = (int(rng.integers(2, 7)), int(rng.integers(3, 14)), 3)
    colours = np.clip(np.array(ground) + rng.normal(0, 60, cells), 0, 255).astype(np.float32)
    soft = cv2.resize(colours, (width, height), interpolation=cv2.INTER_CUBIC)
    image[:] = np.clip(soft, 0, 255)


def _big_emblem(image: Image, ground: Colour, rng: np.random.Generator) -> None:
    height, width = image.shape[:2]
    colour = mix(ground, vivid(rng), rng.uniform(0.4, 1))
    x, y = rng.uniform(0.15, 0.85) * width, rng.uniform(0.4, 0.6) * height
    draw_emblem(image, x, y, height * rng.uniform(0.2, 0.4), colour, rng)


_BACKDROPS: Final[Sequence[_Backdrop]] = (
    _mountains, _rainbow, _rays, _map, _sweep, _painting, _big_emblem,
)  # fmt: skip
