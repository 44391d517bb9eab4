"""Options of a search whose paths need not exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.search.config import SearchConfig


@pytest.fixture
def config(tmp_path: Path) -> SearchConfig:
    paths = {name: tmp_path / name for name in ("checkpoint", "budget", "output")}
    lists = dict.fromkeys(("data", "validation", "calibration"), (tmp_path / "list",))
    return SearchConfig(**paths, **lists, targets=(0.2, 0.5, 0.8))  # type: ignore[arg-type]
