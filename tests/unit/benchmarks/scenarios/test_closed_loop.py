from __future__ import annotations

from collections.abc import Callable
from itertools import count

import numpy as np
import pytest

from benchmarks.noise import Noise
from benchmarks.report import to_json
from benchmarks.scenarios import (
    Latency,
    Throughput,
    Turns,
    multi_stream,
    offline,
    single_stream,
)
from runtime.errors import ConfigError, EngineError

from .fakes import QUIET, Clock, Fixed


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


@pytest.mark.parametrize("stream", [single_stream, multi_stream])
def test_the_longest_duration_is_never_below_the_least(
    stream: Callable[..., Latency], clock: Clock
) -> None:
    found = stream(lambda: clock.spend(0.25), min_duration_s=600)
    assert found.count == 2400  # not the 240 of a minute


def test_multi_stream_asks_several_crops_at_once_and_often_enough_for_a_p99(clock: Clock) -> None:
    system = Fixed(clock, call_s=0.001, sample_s=0.002)
    found = multi_stream(Turns(system, 8), min_duration_s=1)
    assert found.count == 662
    assert set(found.queries_ns.tolist()) == {17_000_000}
    assert found.percentile_ms(0.99) == pytest.approx(17)
    assert {len(call) for call in system.calls} == {8}


def test_a_wrong_answer_voids_the_run(clock: Clock) -> None:
    warm = 50
    for run in (single_stream, multi_stream):
        system = Fixed(clock, call_s=0.001, wrong_at=warm + 40)
        with pytest.raises(EngineError, match="void"):
            run(Turns(system))
        assert len(system.calls) == warm + 40


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


@pytest.mark.parametrize(("memory", "least"), [(0.0, 0.90), (0.9, 0.90), (0.98, 0.85)])
def test_throughput_bounds_hold_the_rate_while_the_machine_drifts(
    memory: float, least: float
) -> None:
    """Calls of 1 ms that an AR(1) process makes up to some 10 % slower or faster."""
    random, runs, queries = np.random.default_rng(1), 300, 2000
    shocks = random.normal(0, np.sqrt(1 - memory**2), (queries, runs))
    drift = np.empty_like(shocks)
    drift[0] = random.normal(0, 1, runs)
    for step in range(1, queries):
        drift[step] = memory * drift[step - 1] + shocks[step]
    times = (1e6 * (1 + 0.05 * drift)).astype(np.int64)
    bounds = [Throughput(1, run, QUIET).bounds(0.975) for run in times.T]
    held = np.mean([low <= 1000 <= high for low, high in bounds])
    assert held >= least  # of 0.95; a bootstrap over single queries holds 0.15 at a memory of 0.98
    assert held < 0.99


@pytest.mark.parametrize("queries", [1, 2, 9, 11, 199])
def test_throughput_bounds_of_few_queries(queries: int) -> None:
    low, high = Throughput(1, np.arange(1, queries + 1) * 1000, QUIET).bounds(0.95)
    assert 0 <= low <= Throughput(1, np.arange(1, queries + 1) * 1000, QUIET).samples_per_s <= high


def test_throughput_by_hand() -> None:
    found = Throughput(4, np.array([1_000_000, 3_000_000]), QUIET)
    assert found.samples_per_s == pytest.approx(2000)


def test_throughput_is_json() -> None:
    assert '"offline"' in to_json(Throughput(1, np.ones(5, np.int64), Noise(None)).to_object())
