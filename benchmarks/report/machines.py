"""What devices are and how they were while they measured, as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from .joining import Joined
from .reading import Result
from .writing import Rows

__all__ = ["device_rows"]

_LONGEST: Final = 160
"""Characters of a value; what is longer is cut, ``result.json`` has it whole."""
_LEFT_OUT: Final = frozenset({"at_ns", "ticks"})
"""Counters that say nothing by themselves."""


def device_rows(joined: Joined) -> Rows:
    """Return a row per fact, a column per device and command that measured there."""
    columns: dict[str, Mapping[str, str]] = {}
    for device in joined.devices:
        columns[device.name] = dict(_flat(device.facts))
        for result in device.results:
            columns[device.name] = {**columns[device.name], **_state(result)}
    keys = dict.fromkeys(key for column in columns.values() for key in column)
    return [{"": key, **{name: c.get(key, "-") for name, c in columns.items()}} for key in keys]


def _state(result: Result) -> Mapping[str, str]:
    """Return what may change between runs; what several runs share is told once."""
    known = {key: value for key, value in result.environment.items() if key != "device"}
    return dict(_flat(known))


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        name = f"{prefix}{key}".replace("_", " ")
        if key in _LEFT_OUT:
            continue
        if isinstance(item, dict) and item:
            yield from _flat(item, f"{name}: ")
        else:
            text = _text(item)
            if text:
                yield name, text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _text(item: object) -> str:
    if item is None or item == "" or item == [] or item == {}:
        return ""
    if isinstance(item, float):
        return f"{item:.4g}"
    if isinstance(item, list):
        return ", ".join(_text(each) or "-" for each in item)
    if isinstance(item, bool):
        return "yes" if item else "no"
    return str(item)
