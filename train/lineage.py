"""What a step writes down about itself, so that a result can be traced and repeated."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from benchmarks.environment import environment

__all__ = ["digests_named", "lineage_entry", "plain", "sources_named", "step_name"]


def lineage_entry(config: object, inputs: Mapping[str, str]) -> dict[str, Any]:
    """Return the resolved config, digests of what was read, and the environment.

    Args:
        config: The command's config dataclass.
        inputs: Digest by name of everything that was read.
    """
    return {
        "config": plain(config),
        "inputs": dict(inputs),
        "environment": environment(),
    }


def step_name(lineage: Mapping[str, Any], command: str) -> str:
    """Return the key of a command's next entry: its name; ``slim2`` and so on for later ones."""
    earlier = sum(name.rstrip("0123456789") == command for name in lineage)
    return f"{command}{earlier + 1}" if earlier else command


def sources_named(lineage: Mapping[str, Any], option: str) -> frozenset[Path]:
    """Return the sources that the steps of a lineage were given as an option, resolved.

    Args:
        lineage: Step to ``lineage_entry``.
        option: Name of the config's field: ``data`` or ``validation``.
    """
    given = [value for value in _noted(lineage, "config", option) if isinstance(value, list)]
    return frozenset(Path(name).resolve() for names in given for name in names)


def digests_named(lineage: Mapping[str, Any], name: str) -> frozenset[str]:
    """Return the digests that the steps of a lineage have of an input.

    Args:
        lineage: Step to ``lineage_entry``.
        name: Of the input.
    """
    return frozenset(v for v in _noted(lineage, "inputs", name) if isinstance(v, str))


def _noted(lineage: Mapping[str, Any], part: str, name: str) -> Iterator[Any]:
    """Yield what the steps have under a name; lineages may be of other versions, or edited."""
    for entry in lineage.values():
        values = entry.get(part) if isinstance(entry, dict) else None
        if isinstance(values, dict) and name in values:
            yield values[name]


def plain(value: object) -> Any:
    """Turn dataclasses, paths, enums and tuples into JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, Path):
        return str(value)
    return value.value if isinstance(value, Enum) else value
