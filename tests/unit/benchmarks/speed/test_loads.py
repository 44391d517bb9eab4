from __future__ import annotations

import pytest

from benchmarks.speed import Loads
from runtime.errors import ConfigError


def test_numbers_of_a_budget_become_loads() -> None:
    found = Loads.of({"cameras": 4.0, "fps": 12.5, "seed": 7})
    assert (found.cameras, found.fps, found.seed) == (4, 12.5, 7)
    assert isinstance(found.cameras, int)
    assert Loads.of({}) == Loads()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"cameras": 2.5}, "whole numbers"),
        ({"cameras": 0}, "--cameras"),
        ({"workers": 0}, "--workers"),
        ({"rate": 0.0}, "--rate"),
        ({"bound_ms": float("nan")}, "--bound-ms"),
        ({"deadline_ms": float("inf")}, "--deadline-ms"),
        ({"jitter_ms": -1.0}, "--jitter-ms"),
        ({"seed": -1}, "--seed"),
    ],
)
def test_impossible_loads_are_refused(wrong: dict[str, float], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Loads.of(wrong)
