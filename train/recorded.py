"""Configs from what ``train.lineage.plain`` made of them, and the command lines that mean the same.

A lineage is read as strictly as a command line: exact types, no unknown key, and whatever the
config itself checks. A key that is missing has its default, since a record may be older than the
option.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import tyro

from runtime.errors import CheckpointError

__all__ = ["from_plain", "option_words", "values_of"]

ConfigT = TypeVar("ConfigT")
_REQUIRED: Final = (dataclasses.MISSING, tyro.MISSING)


# ---- JSON to configs --------------------------------------------------------------------------


def from_plain(kind: type[ConfigT], value: object, what: str) -> ConfigT:
    """Rebuild a config.

    Args:
        kind: Its dataclass.
        value: JSON values.
        what: Name of the record in messages.

    Raises:
        CheckpointError: unknown or missing keys, or values of other types.
        ConfigError: values that the config refuses.
    """
    if not isinstance(value, Mapping):
        raise CheckpointError(f"{what}: expected a JSON object, got {type(value).__name__}")
    kinds = get_type_hints(kind)
    known = {each.name: each for each in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(value) - set(known))
    if unknown:
        raise CheckpointError(
            f"{what}: unknown keys {unknown}; known are {[*known]}. The record was made by another "
            "version of Headlight: repeat it with that one"
        )
    missing = [n for n, each in known.items() if n not in value and _default(each) in _REQUIRED]
    if missing:
        raise CheckpointError(f"{what}: keys {missing} are missing")
    return kind(**{n: _parsed(kinds[n], entry, f"{what}.{n}") for n, entry in value.items()})


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _parsed(kind: Any, value: Any, what: str) -> Any:
    """Return ``value`` as ``kind``, a type as it stands in a config."""
    origin, arguments = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return from_plain(kind, value, what)
    if origin in (Union, types.UnionType):
        return _first(arguments, value, what)
    if origin is tuple and isinstance(value, list):
        return _tuple(arguments, value, what)
    if origin in _MAPPINGS and isinstance(value, Mapping):
        return {str(n): _parsed(arguments[1], entry, f"{what}.{n}") for n, entry in value.items()}
    if isinstance(kind, type) and kind in _EXACT and type(value) in _EXACT[kind]:
        return _MADE.get(kind, _same)(value)
    if isinstance(kind, type) and issubclass(kind, Enum) and value in [e.value for e in kind]:
        return kind(value)
    if origin is Literal and any(value == a and type(value) is type(a) for a in arguments):
        return value
    raise CheckpointError(f"{what}: expected {_named(kind)}, got {value!r:.60}")


def _same(value: Any) -> Any:
    return value


_MAPPINGS: Final = (Mapping, dict)
# bool is a subclass of int; only an explicit bool may be one. A whole number stays one.
_EXACT: Final[Mapping[type, tuple[type, ...]]] = {
    int: (int,),
    float: (int, float),
    str: (str,),
    bool: (bool,),
    type(None): (type(None),),
    Path: (str,),
}
_MADE: Final[Mapping[type, Callable[[Any], Any]]] = {Path: Path}


def _first(kinds: Sequence[Any], value: Any, what: str) -> Any:
    """Return ``value`` as the first of ``kinds`` that it fits."""
    for kind in kinds:
        with suppress(CheckpointError):
            return _parsed(kind, value, what)
    names = " or ".join(map(_named, kinds))
    raise CheckpointError(f"{what}: expected {names}, got {value!r:.60}")


def _tuple(kinds: Sequence[Any], value: list[Any], what: str) -> tuple[Any, ...]:
    if kinds[1:] == (...,):
        kinds = [kinds[0]] * len(value)
    if len(kinds) != len(value):
        raise CheckpointError(f"{what}: expected {len(kinds)} values, got {len(value)}")
    pairs = enumerate(zip(kinds, value, strict=True))
    return tuple(_parsed(kind, entry, f"{what}[{place}]") for place, (kind, entry) in pairs)


def _named(kind: Any) -> str:
    if kind is type(None):
        return "null"
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)


# ---- configs to command lines -----------------------------------------------------------------


def option_words(
    config: object, usual: Mapping[str, Any] = types.MappingProxyType({}), prefix: str = ""
) -> list[str]:
    """Return the words of a command line that give ``config``, as tyro reads them.

    Args:
        config: A dataclass.
        usual: Field to the value that the command gives it without words, where that is not the
            field's own default.
        prefix: Of the options' names, for nested configs.
    """
    hints = get_type_hints(type(config), include_extras=True)
    first: list[str] = []
    words: list[str] = []
    for each in dataclasses.fields(config):  # type: ignore[arg-type]
        marks = getattr(hints[each.name], "__metadata__", ())
        value, default = getattr(config, each.name), usual.get(each.name, _default(each))
        name = next((n for mark in marks if (n := getattr(mark, "name", None)) is not None), None)
        option = f"--{prefix}{each.name.replace('_', '-') if name is None else name}".rstrip(".")
        if tyro.conf.Suppress in marks:
            continue
        if tyro.conf.Positional in marks:
            first += _values(value, marks)
        elif dataclasses.is_dataclass(value):
            below = {} if default in _REQUIRED else values_of(default)
            words += option_words(value, below, f"{option.removeprefix('--')}.")
        elif isinstance(value, bool) and value != default:
            words.append(option if value else f"--{prefix}no-{option.removeprefix(f'--{prefix}')}")
        elif value != default:
            words += [option, *_values(value, marks)]
    return first + words


def values_of(config: Any) -> dict[str, Any]:
    """Return field to value of a dataclass, nested ones as they are."""
    return {each.name: getattr(config, each.name) for each in dataclasses.fields(config)}


def _values(value: Any, marks: Sequence[Any]) -> list[str]:
    for mark in marks:
        written = getattr(mark, "str_from_instance", None)
        if written is not None:
            return [*written(value)]
    if isinstance(value, (list, tuple)):
        return [word for entry in value for word in _values(entry, ())]
    return [value.name if isinstance(value, Enum) else str(value)]
