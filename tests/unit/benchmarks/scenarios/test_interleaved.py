from __future__ import annotations

from itertools import count

import numpy as np
import pytest

from benchmarks.report import to_json
from benchmarks.scenarios import Comparison, Speedup, Turns, compare_interleaved
from runtime.errors import ConfigError, EngineError

from .fakes import QUIET, Clock, Fixed


def test_interleaved_finds_which_is_faster_and_by_how_much(clock: Clock) -> None:
    drift = count()

    def query(seconds: float) -> None:
        clock.spend(seconds * (1 + next(drift) / 1000))  # the machine grows slower for both

    found = compare_interleaved(
        {"slow": lambda: query(0.002), "fast": lambda: query(0.0005)}, rounds=40
    )
    assert found.speedups["slow"].value == 1.0
    assert found.speedups["fast"].value == pytest.approx(4, rel=0.05)
    low, high = found.speedups["fast"].bounds(0.975)
    assert 3.7 < low <= found.speedups["fast"].value <= high < 4.3


def test_interleaved_order_differs_between_rounds(clock: Clock) -> None:
    order: list[str] = []

    def query(name: str) -> None:
        order.append(name)
        clock.spend(0.001)

    queries = {"a": lambda: query("a"), "b": lambda: query("b")}
    compare_interleaved(queries, rounds=12, block_s=0.0025)
    turns = "".join(order)[-12 * 2 * 4 :]
    rounds = {turns[i : i + 8] for i in range(0, len(turns), 8)}
    assert rounds == {"aaaabbbb", "bbbbaaaa"}  # each four: one to warm the caches, three timed


@pytest.mark.parametrize(("names", "rounds"), [("a", 10), ("ab", 4)])
def test_interleaved_needs_two_callables_and_five_rounds(names: str, rounds: int) -> None:
    with pytest.raises(ConfigError, match="two callables and five rounds"):
        compare_interleaved({name: lambda: None for name in names}, rounds=rounds)


def test_speedup_of_equals_is_one() -> None:
    found = Speedup(np.array([0.9, 1.0, 1.1] * 20))
    low, high = found.bounds(0.95)
    assert low <= 1 <= high


def test_a_wrong_answer_at_the_start_of_a_block_voids_the_comparison(clock: Clock) -> None:
    good, bad = Fixed(clock, call_s=0.001), Fixed(clock, call_s=0.001, wrong_at=51)
    with pytest.raises(EngineError, match="void"):
        compare_interleaved({"good": Turns(good), "bad": Turns(bad)}, rounds=5)


@pytest.mark.parametrize("wrong_at", [51 + 20, 51 + 21 * 5 - 1])
def test_a_wrong_timed_answer_at_the_end_of_a_block_voids_the_comparison(
    clock: Clock, wrong_at: int
) -> None:
    # 50 calls to warm up, then blocks of one call and twenty timed ones.
    good, bad = Fixed(clock, call_s=0.001), Fixed(clock, call_s=0.001, wrong_at=wrong_at)
    with pytest.raises(EngineError, match="void"):
        compare_interleaved({"good": Turns(good), "bad": Turns(bad)}, rounds=5, block_s=0.0195)


def test_a_comparison_is_json() -> None:
    comparison = Comparison({"a": np.ones(5), "b": np.ones(5)}, QUIET)
    assert '"interleaved"' in to_json(comparison.to_object())
