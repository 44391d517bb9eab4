"""What stands on US and other Latin plates: series, vanity plates and random runs.

A pattern is a series as issuers define it: ``A`` a letter, ``9`` a digit, a space where the plate
leaves a gap. Lengths are drawn more evenly than traffic has them, so that a network which reads
each position by itself sees enough of the last ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from runtime.schema import DIGITS

from .texts import PlateText

__all__ = ["sample_latin", "sample_us"]

_CAPITALS: Final = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_CONSONANTS: Final = tuple("BCDFGHJKLMNPQRSTVWXYZ")
_VOWELS: Final = tuple("AEIOU")
_AS_DIGITS: Final = str.maketrans("IO", "10")
"""Labels of US plates write I as 1 and O as 0, because many states draw them alike."""

_US_SERIES: Final[tuple[tuple[str, ...], ...]] = (
    ("9999", "AA 99", "999A", "9 99A", "A 999", "AAAA"),
    ("99999", "AA 999", "999 AA", "9999A", "A 9999", "99 999", "AAA 99", "AA99A"),
    (
        "AAA 999", "999 AAA", "AAA 99A", "A99 AAA", "99A A99", "AA 9999", "9999 AA", "99 AA 99",
        "999 999", "A99999", "AAA999", "999AAA", "999999", "9A 999A", "AA9 A99", "A99 9AA",
    ),
    (
        "AAA 9999", "9AAA999", "9999 AAA", "AA 99999", "A999999", "9999999", "999 9999",
        "AAA9999", "9A A9999", "9 99999A", "99 9999A", "AA9 9999", "9A 99999",
    ),
    ("AA9 99999", "9999 9999", "AAA 99999", "99 AAA999", "AAAA 9999"),
)  # fmt: skip
"""Series of 4, 5, 6, 7 and 8 characters."""
_US_LENGTHS: Final = (0.10, 0.16, 0.36, 0.27, 0.11)
_LATIN_SERIES: Final = (
    "A 999 AA", "AA 999", "AAA 99", "9A9 9999", "AA 9999", "AAA 999", "9999 AA", "99 AA 99",
    "AA 999 AA", "AA99 AAA", "9999 AAA", "AAA 9999", "99 AAA 9", "AA 99 999", "AAA9A99",
    "A AA 9999", "AA A 999", "AAA AA 99", "AA 99999", "A 999 AA 99", "99A 99999", "99 A 9999",
    "AA 9999 AA", "99 AA 9999", "AA 99 AA", "999 AA 999", "9 AA 9999", "AA 999 A", "99A 9999",
)  # fmt: skip
"""Series of Europe, South America and Asia, 5 to 9 characters."""


def sample_us(rng: np.random.Generator) -> PlateText:
    """Draw a US plate of 4 to 8 characters; its label has no I and O."""
    length = 4 + int(np.searchsorted(np.cumsum(_US_LENGTHS[:-1]), rng.random(), side="right"))
    kind = rng.random()
    if kind < 0.55:
        drawn = _from_series(rng, _one(rng, _US_SERIES[length - 4]))
    elif kind < 0.78:
        drawn = _vanity(rng, length)
    else:
        drawn = _run(rng, length)
    return _plate("us-plate", drawn, drawn.translate(_AS_DIGITS))


def sample_latin(rng: np.random.Generator) -> PlateText:
    """Draw a plate of 4 to 9 Latin letters and digits."""
    kind = rng.random()
    if kind < 0.7:
        drawn = _from_series(rng, _one(rng, _LATIN_SERIES))
    elif kind < 0.8:
        drawn = _vanity(rng, int(rng.integers(4, 9)))
    else:
        drawn = _run(rng, int(rng.integers(4, 9)))
    return _plate("latin-plate", drawn, drawn)


def _one(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _plate(kind: str, drawn: str, label: str) -> PlateText:
    return PlateText(
        symbols=tuple(label.replace(" ", "")),
        kind=kind,
        colour="",
        layers="",
        glyphs=tuple(drawn.replace(" ", "")),
        groups=tuple(len(part) for part in drawn.split()),
    )


def _from_series(rng: np.random.Generator, pattern: str) -> str:
    pools = {"A": _CAPITALS, "9": DIGITS, " ": (" ",)}
    return "".join(_one(rng, pools[place]) for place in pattern)


def _vanity(rng: np.random.Generator, length: int) -> str:
    """A word-like run of letters, some of them replaced by the digit that looks alike."""
    vowel = bool(rng.random() < 0.4)
    letters = []
    for draw in rng.random(length):
        letters.append(_one(rng, _VOWELS if vowel else _CONSONANTS))
        # Mostly by turns; clusters of consonants and double vowels are the rest.
        vowel = not vowel if draw < 0.75 else vowel
    word = "".join(letters)
    if rng.random() < 0.3:
        word = word.translate(str.maketrans("EASIOTBZ", _one(rng, ("34510782", "EAS107BZ"))))
    if rng.random() < 0.15:
        cut = int(rng.integers(1, length))
        digits = "".join(_one(rng, DIGITS) for _ in range(length - cut))
        word = word[:cut] + digits
    return _part(rng, word)


def _run(rng: np.random.Generator, length: int) -> str:
    """Letters and digits in any order."""
    share = rng.random()
    pools = (_CAPITALS if draw < share else DIGITS for draw in rng.random(length))
    return _part(rng, "".join(_one(rng, pool) for pool in pools))


def _part(rng: np.random.Generator, text: str) -> str:
    """Leave a gap somewhere in half of the texts."""
    cut = int(rng.integers(1, len(text)))
    return f"{text[:cut]} {text[cut:]}" if rng.random() < 0.5 else text
