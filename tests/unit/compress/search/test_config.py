from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from compress.search.config import SearchConfig
from runtime.errors import ConfigError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engines": ("tensorflow",)}, r"\['tensorflow'\] are unknown; use some of"),
        ({"targets": (0.5, 0.5)}, "--targets needs values, none of them twice"),
        ({"trials": 0}, "--trials"),
        ({"samples": 31}, "--samples 31 is too few: INT8 ranges need at least 32 crops"),
        ({"proxy": 0.0}, r"--proxy in \(0, 1\]"),
        ({"proxy": float("nan")}, r"--proxy in \(0, 1\]"),
        ({"duration": 0.0}, "--duration"),
        ({"timeout_minutes": -1.0}, "--timeout-minutes must be >= 0, got -1.0"),
    ],
)
def test_what_cannot_be_is_refused(
    config: SearchConfig, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(config, **changes)


def test_the_run_lies_beside_the_output(config: SearchConfig) -> None:
    assert config.run == config.output.parent / "output.run"
