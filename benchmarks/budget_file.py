"""The files that hold budgets; their format is specified in docs/budgets.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from runtime.errors import ConfigError, MissingExtraError
from runtime.strict import StrictObject

from .budget import FAMILIES, Limit
from .command import say
from .environment import TELLING_FLAGS

__all__ = ["LOAD_KEYS", "limits_for", "read_budget", "read_load", "read_toml"]

_VERSION: Final = 1
LOAD_KEYS: Final = frozenset(
    {"streams", "rate", "bound_ms", "cameras", "fps", "jitter_ms", "deadline_ms"}
)
"""What a budget may say of the load under which its limits must hold."""
_MATCH_TEXTS: Final = ("arch", "cpu", "soc")


def read_budget(path: Path, device: Mapping[str, object]) -> tuple[Limit, ...]:
    """Read the limits of a budget file that hold on ``device``; say so where it names none such.

    Args:
        path: TOML as in docs/budgets.md.
        device: What ``environment.device`` returns.

    Raises:
        ConfigError: the file is unreadable, has unknown or wrong keys, or no limit for the device.
        MissingExtraError: this Python has no TOML parser.
    """
    with _opened(path) as top:
        limits = [_limit(item) for item in top.items("limits", default=[])]
        others = []
        devices = top.mapping("device", default={})
        for name, item in devices.items():
            own, differences = _device_limits(name, item, device)
            if differences:
                others.append(f"{name!r}: {differences}")
            else:
                limits += own
        _load(top)
    if not limits:
        raise ConfigError(f"budget {path} has no limit for this device: {dict(device)}")
    if others and len(others) == len(devices):
        say(f"note: budget {path}: this is none of its devices, whose limits do not count here")
        for other in others:
            say(f"  {other}")
    return tuple(limits)


def read_load(path: Path) -> Mapping[str, float]:
    """Read the load under which the limits of a budget file are to hold.

    Returns:
        Some of ``LOAD_KEYS``; none where the file has no ``[load]``.

    Raises:
        ConfigError: the file is unreadable, or its load has unknown keys or no numbers.
        MissingExtraError: this Python has no TOML parser.
    """
    with _opened(path) as top:
        load = _load(top)
        top.items("limits", default=[])
        top.mapping("device", default={})
    return load


def read_toml(path: Path) -> Mapping[str, Any]:
    """Return the tables of a TOML file, or of a JSON file with the same content.

    Raises:
        ConfigError: it cannot be read.
        MissingExtraError: it is TOML, and this Python has no parser for it.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            value = json.loads(text)
        else:
            import tomllib

            value = tomllib.loads(text)
    except ImportError as error:
        raise MissingExtraError(
            f"{path} is TOML, which Python reads from 3.11 on; write the same as .json"
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path} holds no tables")
    return value


def _opened(path: Path) -> StrictObject:
    try:
        top = StrictObject(read_toml(path), f"budget {path}", ConfigError)
    except ConfigError as error:
        raise ConfigError(f"budget {error}") from error
    if top.integer("schema") != _VERSION:
        raise ConfigError(f"budget {path}: schema must be {_VERSION}")
    return top


def _load(top: StrictObject) -> Mapping[str, float]:
    given = top.mapping("load", default={})
    with StrictObject(dict(given), "load", ConfigError) as load:
        found = {key: load.optional_number(key) for key in sorted(LOAD_KEYS)}
    return {key: value for key, value in found.items() if value is not None}


def limits_for(path: Path | None, device: Mapping[str, object], command: str) -> tuple[Limit, ...]:
    """Return the limits of a budget file that one command can judge; none without a file.

    Args:
        path: The budget, if there is one.
        device: What ``environment.device`` returns.
        command: One of the values of ``FAMILIES``.

    Raises:
        ConfigError: as ``read_budget``, or nothing in the file is for this command.
    """
    if path is None:
        return ()
    limits = read_budget(path, device)
    own = tuple(limit for limit in limits if FAMILIES[limit.family] == command)
    if not own:
        raise ConfigError(f"budget {path} limits nothing that `python -m {command}` measures")
    return own


def _device_limits(
    name: str, value: object, device: Mapping[str, object]
) -> tuple[list[Limit], str]:
    """Return the limits of a device, and in what this one differs from it."""
    with StrictObject(value, f"device {name!r}", ConfigError) as item:
        match = item.mapping("match", default={})
        limits = [_limit(entry) for entry in item.items("limits")]
    return limits, "; ".join(_differences(f"device {name!r}: match", match, device))


def _differences(what: str, wanted: object, device: Mapping[str, Any]) -> Iterator[str]:
    """Text is looked for inside text, flags are a subset, the number of cores is equal."""
    with StrictObject(wanted, what, ConfigError) as item:
        texts = {key: item.text(key, default="") for key in _MATCH_TEXTS}
        flags = item.texts("flags", default=())
        cores = item.integer("cores", default=device["cores"])
    if unknown := sorted({*flags} - TELLING_FLAGS):
        raise ConfigError(
            f"{what}: no device is known by the flags {unknown}; use some of "
            f"{sorted(TELLING_FLAGS)}"
        )
    for key, text in texts.items():
        if text.lower() not in str(device[key]).lower():
            yield f"{key} is {device[key]!r}, not {text!r}"
    missing = sorted({*flags} - {*device["flags"]})
    if missing:
        yield f"no flags {missing} here"
    if cores != device["cores"]:
        yield f"{device['cores']} cores, not {cores}"


def _limit(value: object) -> Limit:
    with StrictObject(value, "limit", ConfigError) as item:
        limit = Limit(
            metric=item.text("metric"),
            stat=item.optional_text("stat"),
            scenario=item.optional_text("scenario"),
            min=item.optional_number("min"),
            max=item.optional_number("max"),
            confidence=item.number("confidence", default=0.95),
            min_samples=item.integer("min_samples", default=1),
        )
    if not limit.kind.in_budgets:
        raise ConfigError(
            f"limit on {limit.metric!r}: no budget is judged by it; only benchmarks.compare is, "
            "with --max-slowdown"
        )
    return limit
