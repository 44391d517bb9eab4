"""Reading JSON without trust: exact types, no key missing, none left unread, none given twice.

``tuple("car")`` turns a string into three labels and ``True`` passes as an int, so every value is
checked for its exact type, and closing the object fails when a key was never asked for. Python's
parser takes ``NaN`` and keeps the last of two equal keys; ``parse_json`` takes neither.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final

from .errors import HeadlightError

__all__ = ["StrictObject", "parse_json"]

_REQUIRED: Final[Any] = object()


def parse_json(text: str, what: str, error: type[HeadlightError]) -> object:
    """Parse JSON, refusing what the standard does not define.

    Args:
        text: The document.
        what: Name of the document in messages.
        error: The error class to raise.

    Raises:
        HeadlightError: of class ``error``: not JSON, a key given twice, NaN or infinity, or
            nested too deeply.
    """

    def no_repeats(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            keys = [key for key, _ in pairs]
            repeated = sorted({key for key in keys if keys.count(key) > 1})
            raise error(f"{what}: keys given twice: {repeated}")
        return value

    def no_constants(name: str) -> object:
        raise error(f"{what}: {name} is not JSON; write null or a number")

    try:
        value: object = json.loads(text, object_pairs_hook=no_repeats, parse_constant=no_constants)
    except (ValueError, RecursionError) as cause:
        raise error(f"{what} is not JSON: {cause}") from cause
    return value


class StrictObject:
    """One JSON object being read; use as a context manager.

    Args:
        value: What the JSON parser returned.
        what: Name of the object in messages.
        error: The error class to raise.
    """

    def __init__(self, value: object, what: str, error: type[HeadlightError]) -> None:
        self._what = what
        self._error = error
        if not isinstance(value, dict):
            raise error(f"{what}: expected a JSON object, got {type(value).__name__}")
        self._values: dict[str, Any] = value
        self._read: set[str] = set()

    def __enter__(self) -> StrictObject:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        unknown = sorted(set(self._values) - self._read)
        if kind is None and unknown:
            raise self._error(
                f"{self._what}: unknown keys {unknown}; known keys are {sorted(self._read)}"
            )

    def _get(self, key: str, kinds: tuple[type, ...], default: Any) -> Any:
        self._read.add(key)
        if key not in self._values:
            if default is _REQUIRED:
                raise self._error(f"{self._what}: key {key!r} is missing")
            return default
        value = self._values[key]
        # bool is a subclass of int; only an explicit bool may be one.
        if type(value) not in kinds:
            names = " or ".join("null" if k is type(None) else k.__name__ for k in kinds)
            raise self._error(
                f"{self._what}: key {key!r} must be {names}, got {type(value).__name__} "
                f"({value!r:.60})"
            )
        return value

    def text(self, key: str, default: Any = _REQUIRED) -> str:
        """Return a string."""
        value: str = self._get(key, (str,), default)
        return value

    def optional_text(self, key: str) -> str | None:
        """Return a string, or None when the key is absent or null."""
        value: str | None = self._get(key, (str, type(None)), None)
        return value

    def integer(self, key: str, default: Any = _REQUIRED) -> int:
        """Return an int (never a bool)."""
        value: int = self._get(key, (int,), default)
        return value

    def number(self, key: str, default: Any = _REQUIRED) -> float:
        """Return an int or float as float."""
        return self._finite(key, self._get(key, (int, float), default))

    def optional_number(self, key: str) -> float | None:
        """Return a number, or None when the key is absent or null."""
        value = self._get(key, (int, float, type(None)), None)
        return None if value is None else self._finite(key, value)

    def _finite(self, key: str, value: int | float) -> float:
        # 1e999 parses to infinity, and an int of 400 digits does not fit a float at all.
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self._error(
                f"{self._what}: key {key!r} must be a finite number, got {value!r:.60}"
            )
        return number

    def flag(self, key: str, default: Any = _REQUIRED) -> bool:
        """Return a bool."""
        value: bool = self._get(key, (bool,), default)
        return value

    def items(self, key: str, default: Any = _REQUIRED) -> Sequence[Any]:
        """Return a list."""
        value: Sequence[Any] = self._get(key, (list,), default)
        return value

    def texts(self, key: str, default: Any = _REQUIRED) -> tuple[str, ...]:
        """Return a list of strings as a tuple."""
        return tuple(self._each(key, (str,), default))

    def integers(self, key: str, default: Any = _REQUIRED) -> tuple[int, ...]:
        """Return a list of ints as a tuple."""
        return tuple(self._each(key, (int,), default))

    def numbers(self, key: str, default: Any = _REQUIRED) -> tuple[float, ...]:
        """Return a list of numbers as a tuple of floats."""
        return tuple(self._finite(key, v) for v in self._each(key, (int, float), default))

    def _each(self, key: str, kinds: tuple[type, ...], default: Any) -> Sequence[Any]:
        values = self.items(key, default)
        for value in values:
            if type(value) not in kinds:
                names = " or ".join(kind.__name__ for kind in kinds)
                raise self._error(
                    f"{self._what}: key {key!r} must hold only {names}, got {value!r}"
                )
        return values

    def mapping(self, key: str, default: Any = _REQUIRED) -> Mapping[str, Any]:
        """Return an object whose keys are free."""
        value: Mapping[str, Any] = self._get(key, (dict,), default)
        return value

    def text_mapping(self, key: str, default: Any = _REQUIRED) -> Mapping[str, str]:
        """Return an object whose keys are free and whose values are strings."""
        value = self.mapping(key, default)
        with StrictObject(value, f"{self._what}: {key}", self._error) as item:
            return {name: item.text(name) for name in value}

    def optional_mapping(self, key: str) -> Mapping[str, Any] | None:
        """Return an object whose keys are free, or None when the key is absent or null."""
        value: Mapping[str, Any] | None = self._get(key, (dict, type(None)), None)
        return value
