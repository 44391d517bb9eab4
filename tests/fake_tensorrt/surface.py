"""The recorded names of TensorRT's Python bindings."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[1] / "data" / "trt_api" / "surface.json"


@cache
def recorded() -> dict[str, Any]:
    value: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return value


def versions() -> list[str]:
    """``8.6.1`` to ``11.4.0`` and ``rtx-1.7.1``."""
    return list(recorded()["versions"])


def members(version: str) -> dict[str, list[str]]:
    """Class to its public names in ``version``; a class without names there is left out."""
    place = str(versions().index(version))
    found = {
        name: [word for places, words in parts.items() if place in places for word in words.split()]
        for name, parts in recorded()["classes"].items()
    }
    return {name: names for name, names in found.items() if names}
