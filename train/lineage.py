"""What a step writes down about itself, so that a result can be traced and repeated."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from benchmarks.environment import environment

__all__ = ["lineage_entry", "plain"]


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
