from __future__ import annotations

import pytest

from benchmarks.budget import Outcome
from benchmarks.report import to_json
from benchmarks.scenarios import server
from runtime.errors import ConfigError

from .fakes import Clock, Fixed


def test_a_light_load_holds_and_a_heavy_one_does_not(clock: Clock) -> None:
    system = Fixed(clock, call_s=0.002)  # at most 500 a second
    light = server(system, rate=100, bound_ms=15, min_duration_s=20)
    heavy = server(system, rate=600, bound_ms=15, min_duration_s=5)
    assert light.outcome is Outcome.PASS
    assert light.latency.percentile_ms(0.5) == pytest.approx(2.0, abs=0.5)
    assert heavy.outcome is Outcome.FAIL
    assert heavy.over > 0.9 * heavy.latency.count
    assert heavy.served.end_ns < 5.2e9  # it was given up


def test_waiting_is_as_queueing_theory_says(clock: Clock) -> None:
    # M/D/1 (Pollaczek-Khinchine): mean wait = rho / (2 (1 - rho)) services. Here rho = 0.6.
    run = server(Fixed(clock, call_s=0.003), rate=200, bound_ms=100, min_duration_s=100)
    assert run.served.queue_ns.mean() / 3e6 == pytest.approx(0.6 / 0.8, rel=0.1)
    assert run.stages["queue"].count == run.latency.count == 20_000


def test_a_run_is_long_enough_to_prove_a_p99(clock: Clock) -> None:
    run = server(Fixed(clock, call_s=0.001), rate=50, bound_ms=15, min_duration_s=0.1)
    assert run.latency.count == 662
    assert run.outcome is Outcome.PASS
    longer = server(Fixed(clock, call_s=0.001), rate=500, bound_ms=500, min_duration_s=0.1)
    assert longer.latency.count == 500 * 40 * 0.5  # 40 bounds


def test_too_few_queries_prove_nothing(clock: Clock) -> None:
    run = server(Fixed(clock, call_s=0.001), rate=1, bound_ms=15, min_duration_s=0.1)
    assert run.latency.count == 120  # two minutes at most
    assert run.outcome is Outcome.INCONCLUSIVE


def test_batches_are_counted_and_all_is_json(clock: Clock) -> None:
    run = server(
        Fixed(clock, call_s=0.004, sample_s=0.001), rate=400, bound_ms=30, batch=8, min_duration_s=9
    )
    told = run.to_object()
    assert told["samples_per_call"] > 2
    assert told["holds"] == "pass"
    assert '"unanswered": 0' in to_json(told)


@pytest.mark.parametrize(("rate", "bound_ms"), [(0, 5), (5, 0), (float("nan"), 5)])
def test_impossible_loads_are_refused(rate: float, bound_ms: float) -> None:
    with pytest.raises(ConfigError, match="above 0"):
        server(Fixed(Clock(), call_s=0.001), rate=rate, bound_ms=bound_ms)
