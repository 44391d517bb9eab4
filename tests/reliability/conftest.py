"""What the reliability tests share: how big they run, and the counted line that each prints."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Count = Callable[..., None]


@pytest.fixture
def full() -> bool:
    """Whether to run in full size (``make reliability``), or for seconds."""
    return os.environ.get("HEADLIGHT_RELIABILITY") == "full"


@pytest.fixture
def count(request: pytest.FixtureRequest, full: bool) -> Iterator[Count]:
    """Prints one line of JSON with what a test counted, and keeps it where asked to.

    ``HEADLIGHT_RELIABILITY_RECORD`` names the file that lines are added to.
    """
    lines: list[str] = []

    def note(name: str, **numbers: float | str | bool | None) -> None:
        lines.append(json.dumps({"test": name, "full": full, **numbers}, ensure_ascii=False))

    yield note
    assert lines, f"{request.node.name} counted nothing"
    record = os.environ.get("HEADLIGHT_RELIABILITY_RECORD")
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        for line in lines:
            print(line)
    if record:
        with Path(record).open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
