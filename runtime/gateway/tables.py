"""From a TOML file to options: exact types, nothing unknown, every error with its place.

A part of the gateway says what can be set by a dataclass: its fields are the keys of a table, its
defaults theirs, and its ``__post_init__`` what makes sense. Types are checked by msgspec, which
does not mind keys that a dataclass lacks; a misspelt key would be an option silently not set, so
those are looked for here.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec

from runtime.errors import ConfigError

__all__ = ["options_of", "read_table"]

Options = TypeVar("Options")


def read_table(path: Path) -> Mapping[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: it cannot be read, or is not TOML.
    """
    try:
        import tomllib
    except ImportError:  # Python 3.10
        import tomli as tomllib  # type: ignore[no-redef]
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as TOML: {error}") from error


def options_of(kind: type[Options], table: Mapping[str, Any], where: str) -> Options:
    """Turn a table into options.

    Args:
        kind: A dataclass; its fields may be dataclasses, and tuples of them.
        table: Keys and values, as the TOML parser gave them.
        where: Name of the file, for messages.

    Raises:
        ConfigError: an unknown or missing key, a value of another type, or options that cannot
            work.
    """
    unknown = next(_unknown(kind, table, ""), None)
    if unknown is not None:
        raise ConfigError(f"{where}: {unknown}")
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        # "Expected `float`, got `str` - at `$.camera[0].stall_s`"
        what, _, place = str(error).partition(" - at `$.")
        place = place.rstrip("`")
        raise ConfigError(f"{where}: {f'{place}: ' if place else ''}{what}") from error
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _unknown(kind: object, value: object, place: str) -> Iterator[str]:
    """Yield a complaint for every key that no option has."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        kinds = [part for part in get_args(kind) if part is not Ellipsis]
        for index, item in enumerate(value):
            for part in kinds:
                yield from _unknown(part, item, f"{place}[{index}]")
    elif isinstance(value, Mapping):
        if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
            for part in get_args(kind):  # such as ``Options | None``
                yield from _unknown(part, value, place)
            return
        hints = get_type_hints(kind)
        known = [field.name for field in dataclasses.fields(kind)]
        for key, item in value.items():
            inner = f"{place}.{key}" if place else key
            if key in known:
                yield from _unknown(hints[key], item, inner)
            else:
                near = difflib.get_close_matches(key, known, 1)
                advice = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
                yield f"{inner} is not known; {advice}"
