"""Schemas that come with Headlight: Chinese, US and generic Latin number plates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from .schema import DIGITS, LETTERS, Format, Head, HeadKind, Reading, Schema

__all__ = ["BUILTIN", "PROVINCES"]

PROVINCES: Final[tuple[str, ...]] = tuple(
    "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
)
"""First characters of civil plates of the 31 provinces of mainland China."""
_SPECIAL: Final = ("军", "使", "WJ")
_SUFFIXES: Final = tuple("学警挂港澳领")
_ENERGY: Final = tuple("ABCDEFGHJK")
"""New-energy letters (GA 36-2018): A-E pure electric, F-K not purely."""
_BLANK: Final = "_"
_ALNUM: Final = (*DIGITS, *LETTERS)


def cn_plate() -> Schema:
    """Chinese plates of 7 and 8 characters (GA 36-2018), their colour and number of rows."""
    sets: Sequence[Sequence[str]] = (
        (*PROVINCES, *_SPECIAL),
        (*LETTERS, *DIGITS),
        *([_ALNUM] * 4),
        (*_ALNUM, *_SUFFIXES),
        (_BLANK, *DIGITS, *_ENERGY),
    )
    last = (_BLANK,)
    formats = (
        Format("civil", (PROVINCES, LETTERS, *[_ALNUM] * 5, last)),
        Format("suffix", (PROVINCES, LETTERS, *[_ALNUM] * 4, _SUFFIXES, last)),
        Format("energy-small", (PROVINCES, LETTERS, _ENERGY, _ALNUM, *[DIGITS] * 4)),
        Format("energy-large", (PROVINCES, LETTERS, *[DIGITS] * 5, _ENERGY)),
        Format("embassy", (("使",), *[DIGITS] * 6, last)),
        Format("military", (("军",), LETTERS, *[_ALNUM] * 5, last)),
        Format("armed-police", (("WJ",), *[DIGITS] * 7)),
    )
    characters = _characters(sets)
    return Schema(
        name="cn-plate",
        heads=(
            *characters,
            Head(
                name="colour",
                kind=HeadKind.CHOICE,
                labels=("blue", "yellow", "green", "white", "black"),
                loss_weight=0.5,
            ),
            Head(name="layers", kind=HeadKind.CHOICE, labels=("single", "double"), loss_weight=0.5),
        ),
        readings=(
            Reading(
                name="plate",
                heads=tuple(head.name for head in characters),
                blank=_BLANK,
                formats=formats,
            ),
        ),
    )


def us_plate() -> Schema:
    """US plates of up to 8 characters; the letters O and I are read as 0 and 1."""
    return _latin("us-plate", (*DIGITS, *LETTERS), 8, (("O", "0"), ("I", "1")))


def latin_plate() -> Schema:
    """Plates of up to 10 Latin letters and digits."""
    return _latin(
        "latin-plate", (*DIGITS, *(chr(code) for code in range(ord("A"), ord("Z") + 1))), 10
    )


def _latin(
    name: str, alphabet: Sequence[str], length: int, aliases: tuple[tuple[str, str], ...] = ()
) -> Schema:
    characters = _characters([(_BLANK, *alphabet)] * length)
    # Blanks stand only at the end, so that a text has one encoding.
    formats = tuple(
        Format(f"length-{count}", (*[tuple(alphabet)] * count, *[(_BLANK,)] * (length - count)))
        for count in range(1, length + 1)
    )
    reading = Reading(
        name="plate",
        heads=tuple(head.name for head in characters),
        blank=_BLANK,
        formats=formats,
        aliases=aliases,
    )
    return Schema(name=name, heads=characters, readings=(reading,))


def _characters(sets: Sequence[Sequence[str]]) -> tuple[Head, ...]:
    return tuple(
        Head(name=f"char_{position}", kind=HeadKind.CHOICE, labels=tuple(labels))
        for position, labels in enumerate(sets, start=1)
    )


BUILTIN: Final[Mapping[str, Callable[[], Schema]]] = {
    "cn-plate": cn_plate,
    "us-plate": us_plate,
    "latin-plate": latin_plate,
}
