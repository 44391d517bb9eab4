"""What stands on a Chinese plate: random texts that follow the formats of the schema.

Provinces, green plates and yellow plates are drawn more often than traffic has them, so that a
network sees enough of each; the text itself carries no pattern that could be learnt by heart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from runtime.builtin_schemas import PROVINCES
from runtime.schema import DIGITS, LETTERS

__all__ = ["CN_KINDS", "PlateText", "sample_cn"]

UNIFORM_PROVINCES: Final = 0.4
"""Share of plates whose province is drawn uniformly instead of from ``_PROVINCE_PRIOR``."""
_PROVINCE_PRIOR: Final[Mapping[str, float]] = dict.fromkeys(PROVINCES, 1.0) | {
    "苏": 14.0,
    "皖": 12.0,
    **dict.fromkeys("沪浙", 8.0),
    **dict.fromkeys("鲁豫粤", 6.0),
    **dict.fromkeys("冀京", 4.0),
    **dict.fromkeys("赣鄂湘闽川", 3.0),
    **dict.fromkeys("辽津陕渝晋", 2.0),
}
_ENERGY: Final = tuple("ABCDEFGHJK")
CN_KINDS: Final[Mapping[str, float]] = {
    "civil": 0.641,
    "civil-yellow": 0.10,
    "civil-double": 0.02,
    "energy-small": 0.10,
    "energy-large": 0.025,
    "学": 0.015,
    "挂": 0.015,
    "警": 0.02,
    "港": 0.012,
    "澳": 0.008,
    "领": 0.01,
    "embassy": 0.012,
    "military": 0.012,
    "armed-police": 0.01,
}
"""Kinds of Chinese plates and their share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlateText:
    """The text of one plate and what its label says besides."""

    symbols: tuple[str, ...]
    """One entry a cell, left to right and top to bottom; ``WJ`` is one."""
    kind: str
    """A key of ``CN_KINDS``, or the schema's name."""
    colour: str
    """Label of the colour head; empty where the schema has none."""
    layers: str
    """``single`` or ``double``; empty where the schema has no such head."""
    glyphs: tuple[str, ...] = ()
    """Characters as drawn, one for each symbol; empty where they are the symbols."""
    groups: tuple[int, ...] = ()
    """Numbers of symbols between the gaps of a Latin plate; empty for Chinese ones."""

    @property
    def text(self) -> str:
        """The text as labels write it."""
        return "".join(self.symbols)


def _one(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _weighted(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    edges = np.cumsum(list(weights.values()))
    place = int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))
    return list(weights)[min(place, len(weights) - 1)]


def _province(rng: np.random.Generator) -> str:
    if rng.random() < UNIFORM_PROVINCES:
        return _one(rng, PROVINCES)
    return _weighted(rng, _PROVINCE_PRIOR)


def _city(rng: np.random.Generator) -> str:
    # Provincial capitals (A) are the most common by far on the road.
    return "A" if rng.random() < 0.15 else _one(rng, LETTERS)


def _alnum(rng: np.random.Generator, count: int, letter_share: float = 0.35) -> tuple[str, ...]:
    return tuple(
        _one(rng, LETTERS) if rng.random() < letter_share else _one(rng, DIGITS)
        for _ in range(count)
    )


def _digits(rng: np.random.Generator, count: int) -> tuple[str, ...]:
    return tuple(_one(rng, DIGITS) for _ in range(count))


def _energy_letter(rng: np.random.Generator) -> str:
    draw = rng.random()
    return "D" if draw < 0.5 else "F" if draw < 0.65 else _one(rng, _ENERGY)


def _cn_symbols(rng: np.random.Generator, kind: str) -> tuple[str, ...]:
    if kind == "embassy":
        return ("使", *_digits(rng, 6))
    if kind == "armed-police":
        return ("WJ", *_digits(rng, 7))
    if kind == "military":
        return ("军", _one(rng, LETTERS), *_alnum(rng, 5, 0.1))
    area = (_province(rng), _city(rng))
    if kind == "energy-small":
        return (*area, _energy_letter(rng), *_alnum(rng, 1, 0.4), *_digits(rng, 4))
    if kind == "energy-large":
        return (*area, *_digits(rng, 5), _energy_letter(rng))
    if kind.startswith("civil"):
        return (*area, *_alnum(rng, 5))
    return (*area, *_alnum(rng, 4, 0.2), kind)


_COLOURS: Final[Mapping[str, str]] = {
    "civil": "blue",
    **dict.fromkeys(("civil-yellow", "civil-double", "学", "挂"), "yellow"),
    **dict.fromkeys(("energy-small", "energy-large"), "green"),
    **dict.fromkeys(("警", "military", "armed-police"), "white"),
    **dict.fromkeys(("港", "澳", "领", "embassy"), "black"),
}


def sample_cn(rng: np.random.Generator) -> PlateText:
    """Draw a Chinese plate of any kind."""
    kind = _weighted(rng, CN_KINDS)
    layers = "double" if kind in ("civil-double", "挂") else "single"
    return PlateText(
        symbols=_cn_symbols(rng, kind), kind=kind, colour=_COLOURS[kind], layers=layers
    )
