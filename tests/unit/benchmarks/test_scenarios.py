from __future__ import annotations

import math
from itertools import count

import numpy as np
import pytest

from benchmarks import scenarios
from benchmarks.noise import Noise
from benchmarks.report import to_json
from benchmarks.scenarios import (
    Comparison,
    Latency,
    Speedup,
    Throughput,
    compare_interleaved,
    offline,
    single_stream,
    warm_up,
)
from runtime.errors import ConfigError

QUIET = Noise(0.0)


def latency(times_ms: np.ndarray) -> Latency:
    return Latency((times_ms * 1e6).astype(np.int64), QUIET)


class Clock:
    """Time that passes only when a query says so: no test waits, none depends on the machine."""

    def __init__(self) -> None:
        self.now_ns = 0

    def perf_counter_ns(self) -> int:
        return self.now_ns

    def perf_counter(self) -> float:
        return self.now_ns / 1e9

    def spend(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(scenarios, "time", clock)
    return clock


def test_no_percentile_below_its_floor() -> None:
    times = np.arange(1.0, 1001.0)
    assert latency(times[:63]).percentile_ms(0.9) is None
    assert latency(times[:64]).percentile_ms(0.9) is not None
    assert latency(times[:661]).percentile_ms(0.99) is None
    assert latency(times[:662]).percentile_ms(0.99) is not None


def test_percentiles_and_bounds_by_hand() -> None:
    found = latency(np.arange(1001.0)[::-1])
    assert found.percentile_ms(0.5) == pytest.approx(500)
    assert found.percentile_ms(0.9) == pytest.approx(900)
    low, high = found.bounds_ms(0.9)
    assert 870 < low < 900 < high < 930
    assert latency(np.ones(3)).bounds_ms(0.5) == (0.0, math.inf)


def test_single_stream_on_the_real_clock() -> None:
    calls = count()
    found = single_stream(lambda: next(calls), min_queries=100, min_duration_s=0.05)
    assert found.count >= 100
    assert found.warm is not None
    assert next(calls) == found.count + found.warm.runs


def test_single_stream_runs_long_enough(clock: Clock) -> None:
    found = single_stream(lambda: clock.spend(0.01), min_queries=64, min_duration_s=5)
    assert found.count == 500
    assert set(found.queries_ns.tolist()) == {10_000_000}
    assert found.warm is not None
    assert found.warm.stable


def test_single_stream_runs_often_enough(clock: Clock) -> None:
    assert single_stream(lambda: clock.spend(0.1), min_queries=64, min_duration_s=1).count == 64


def test_slow_queries_stop_at_the_longest_duration(clock: Clock) -> None:
    found = single_stream(lambda: clock.spend(2), min_queries=64, max_duration_s=10)
    assert found.count == 5
    assert found.percentile_ms(0.9) is None


def test_warm_up_waits_until_the_timing_settles(clock: Clock) -> None:
    calls = count()
    found = warm_up(lambda: clock.spend(0.0005 + 0.003 * 0.97 ** next(calls)), min_s=0.01)
    assert found.stable
    assert found.median_s < 0.0006


def test_warm_up_of_a_steady_query_ends_after_50_runs_or_a_second(clock: Clock) -> None:
    assert warm_up(lambda: clock.spend(0.001)).runs == 50
    # Slower ones come in blocks of 0.2 s: two of these.
    assert warm_up(lambda: clock.spend(0.15)).runs == 8
    assert warm_up(lambda: clock.spend(10)).runs == 1


def test_warm_up_gives_up_on_a_timing_that_never_settles(clock: Clock) -> None:
    calls = count(1)
    found = warm_up(lambda: clock.spend(0.0001 * 1.01 ** next(calls)), max_s=3)
    assert not found.stable
    assert clock.perf_counter() < 3.5


def test_offline_counts_samples(clock: Clock) -> None:
    found = offline(lambda: clock.spend(0.002), batch=8, min_duration_s=0.1)
    assert found.samples_per_s == pytest.approx(4000)
    assert found.bounds(0.95) == pytest.approx((4000, 4000))
    with pytest.raises(ConfigError, match="batch"):
        offline(lambda: None, batch=0)


def test_throughput_bounds_hold_the_rate() -> None:
    times = np.random.default_rng(0).integers(1_000_000, 3_000_000, 200)
    found = Throughput(1, times, QUIET)
    low, high = found.bounds(0.975)
    assert low < found.samples_per_s < high
    assert high / low < 1.2


def test_throughput_by_hand() -> None:
    found = Throughput(4, np.array([1_000_000, 3_000_000]), QUIET)
    assert found.samples_per_s == pytest.approx(2000)


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


def test_results_are_json() -> None:
    assert '"p99": null' in to_json(latency(np.ones(100)).to_object())
    comparison = Comparison({"a": np.ones(5), "b": np.ones(5)}, QUIET)
    assert '"interleaved"' in to_json(comparison.to_object())
    assert '"offline"' in to_json(Throughput(1, np.ones(5, np.int64), Noise(None)).to_object())
