from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.arguments import artifact_names
from runtime.errors import ConfigError


def test_names_are_as_short_as_they_can_be() -> None:
    assert artifact_names([Path("runs/a"), Path("runs/b/")]) == ("a", "b")
    assert artifact_names([Path("x/int8"), Path("y/int8")]) == ("x/int8", "y/int8")


def test_no_artifact_and_one_twice_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        artifact_names([])
    with pytest.raises(ConfigError, match="twice"):
        artifact_names([Path("a"), Path("b/../a")])
