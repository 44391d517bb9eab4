"""Sizes of backbones: typed, bounded fields, given by name on a command line or in JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, TypeAlias, TypeVar, get_type_hints

from runtime.errors import ConfigError, HeadlightError

__all__ = [
    "BackboneConfig",
    "Size",
    "Sizes",
    "bounded",
    "one_of",
    "parse_sizes",
    "size_from_json",
    "sizes_text",
    "sizes_words",
]

Size: TypeAlias = int | float | tuple[int, ...] | str
SizeT = TypeVar("SizeT", bound=Size)

_KINDS: Final[Mapping[Any, str]] = {
    int: "a whole number",
    float: "a number",
    str: "a word",
    tuple[int, int]: "two whole numbers",
    tuple[int, ...]: "whole numbers",
}


def bounded(
    default: SizeT, low: float, high: float = math.inf, *, length: int = -1, odd: bool = False
) -> SizeT:
    """Return a dataclass field whose value, or each entry of it, lies in [low, high].

    Args:
        default: The value where none is given.
        low: Smallest value.
        high: Largest value.
        length: Number of entries of a tuple; -1 for as many as ``default`` has, 0 for any.
        odd: Whether only odd values will do: an even kernel would not keep the size.
    """
    entries = len(default) if length < 0 and isinstance(default, tuple) else length
    rule = {"low": low, "high": high, "length": entries, "odd": odd}
    return field(default=default, metadata=rule)


def one_of(default: str, options: Sequence[str]) -> str:
    """Return a dataclass field that holds one of ``options``."""
    return field(default=default, metadata={"options": tuple(options)})


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneConfig:
    """What every backbone's sizes have in common.

    All backbones here halve their input five times, rounding up: first by ``stem_stride``, at the
    end by ``fourth_stride`` and ``last_stride``. The defaults keep the columns of wide crops:
    48x144 px give 2 x 9 features.

    Raises:
        ConfigError: a value of another type, outside its bounds, or of another length.
    """

    stem_stride: int = bounded(2, 1, 2)
    """First stride, 1 or 2; 1 keeps twice the rows and columns at about four times the cost."""
    fourth_stride: tuple[int, int] = bounded((2, 2), 1, 2)
    """Stride before the last, vertical and horizontal; (2, 1) keeps twice the columns from there
    on, as readers of text do (PP-OCR, Du et al. 2020, section 2.3), at 1.1 to 1.8 times the
    MACs."""
    last_stride: tuple[int, int] = bounded((2, 1), 1, 2)
    """Stride of the last stage, vertical and horizontal; (2, 2) is the papers'."""

    def __post_init__(self) -> None:
        kinds = get_type_hints(type(self))
        for each in dataclasses.fields(self):
            value, rule = getattr(self, each.name), each.metadata
            if not _fits(value, kinds[each.name], rule):
                raise ConfigError(
                    f"{each.name} must be {_expected(kinds[each.name], rule)}, got {value!r}"
                )


def _fits(value: object, kind: Any, rule: Mapping[str, Any]) -> bool:
    if kind is str:
        return type(value) is str and value in rule["options"]
    entries = value if isinstance(value, tuple) else (value,)
    # bool is a subclass of int, and no size.
    allowed = (int, float) if kind is float else (int,)
    whole = isinstance(value, tuple) == (kind not in (int, float))
    if not whole or not entries or any(type(entry) not in allowed for entry in entries):
        return False
    if isinstance(value, tuple) and rule["length"] not in (0, len(value)):
        return False
    if rule["odd"] and not all(entry % 2 for entry in entries):
        return False
    # Written so that NaN fails.
    return all(rule["low"] <= entry <= rule["high"] for entry in entries)


def _expected(kind: Any, rule: Mapping[str, Any]) -> str:
    if kind is str:
        return f"one of {rule['options']}"
    high = "" if rule["high"] == math.inf else f" and <= {rule['high']}"
    count = f"{rule['length']} " if kind == tuple[int, ...] and rule["length"] else ""
    return f"{count}{_KINDS[kind]} >= {rule['low']}{high}" + (", odd" if rule["odd"] else "")


class Sizes(Mapping[str, Size]):
    """All sizes of one backbone, checked; immutable, and equal to any mapping of the same values.

    Args:
        backbone: Whose sizes they are. A config that gets another backbone drops them: what fits
            one architecture says nothing about another.
        values: Name to value.
    """

    __slots__: ClassVar[tuple[str, ...]] = ("_values", "backbone")

    def __init__(self, backbone: str, values: Mapping[str, Size]) -> None:
        self.backbone = backbone
        self._values = dict(values)

    def __getitem__(self, name: str) -> Size:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        return f"Sizes({self.backbone!r}, {self._values!r})"


def parse_sizes(words: Sequence[str]) -> dict[str, Size]:
    """Parse ``width=48``, ``multiplier=0.5``, ``last_stride=2,1``, ``activation=relu``.

    Raises:
        ValueError: a word without ``=``, or a name given twice.
    """
    sizes: dict[str, Size] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not (name and equals and text) or name in sizes:
            raise ValueError(f"expected NAME=VALUE, every name once, got {word!r}")
        sizes[name.replace("-", "_")] = _parse(text)
    return sizes


def _parse(text: str) -> Size:
    if "," in text:
        with suppress(ValueError):
            return tuple(int(part) for part in text.removesuffix(",").split(","))
    with suppress(ValueError):
        return int(text)
    with suppress(ValueError):
        number = float(text)
        # "nan" and "inf" stay words: no size is one.
        return number if math.isfinite(number) else text
    return text


def sizes_words(sizes: Mapping[str, Size]) -> list[str]:
    """Return the words that ``parse_sizes`` reads."""
    return [f"{name}={_text(value)}" for name, value in sizes.items()]


def _text(value: Size) -> str:
    if not isinstance(value, tuple):
        return str(value)
    # "3" would be read as a number.
    return ",".join(map(str, value)) + ("," if len(value) == 1 else "")


def sizes_text(config: type[BackboneConfig]) -> str:
    """Return all sizes of an architecture with their defaults, as one types them."""
    defaults = config()
    return " ".join(
        sizes_words(
            {each.name: getattr(defaults, each.name) for each in dataclasses.fields(config)}
        )
    )


def size_from_json(name: str, value: object, error: type[HeadlightError]) -> Size:
    """Turn a JSON value into a size; a list into a tuple.

    Raises:
        HeadlightError: of class ``error``: neither a finite number, nor a string, nor a list of
            whole numbers.
    """
    if isinstance(value, list) and all(type(entry) is int for entry in value):
        return tuple(value)
    if type(value) in (int, str) or (isinstance(value, float) and math.isfinite(value)):
        return value  # type: ignore[return-value]
    raise error(
        f"network config: size {name!r} must be a number, a word or a list of whole numbers, "
        f"got {value!r:.60}"
    )
