from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.budget import Outcome
from benchmarks.noise import Noise
from benchmarks.report import to_json
from benchmarks.scenarios import RateSearch, ServerRun, highest_rate, server
from benchmarks.scenarios.open_loop import Served

from .fakes import QUIET, Clock, Fixed


def run(rate: float, over: int, noise: Noise = QUIET) -> ServerRun:
    """A run of 1,000 queries, ``over`` of which took too long."""
    zero = np.zeros(1000, np.int64)
    done = np.full(1000, 1_000_000)
    done[:over] = 99_000_000
    served = Served(
        arrivals_ns=zero,
        started_ns=zero,
        done_ns=done,
        end_ns=10**9,
        timings=(),
        sizes=[1] * 1000,
        noise=noise,
    )
    return ServerRun.of(served, rate=rate, bound_ms=10)


@given(st.floats(1, 1e6), st.floats(0.1, 1e4))
def test_the_edge_is_found_from_anywhere_below_and_some_way_above(
    capacity: float, share: float
) -> None:
    def trial(rate: float) -> ServerRun:
        return run(rate, 0 if rate <= capacity else 500)

    found = highest_rate(trial, trial, start=capacity / share)
    if share < 1 / 16:  # so far off that the search gives up
        return
    assert found.best is not None
    assert found.best.outcome is Outcome.PASS
    assert found.held <= capacity < found.failed
    assert found.failed <= found.held * 1.05 * (1 + 1e-9)


def test_no_rate_may_hold() -> None:
    found = highest_rate(partial(run, over=500), partial(run, over=500), start=100)
    assert found.best is None
    assert (found.held, found.failed) == (0.0, found.told.rate)
    assert found.told.rate >= 100 / 16
    assert len(found.trials) == 5


def test_luck_at_the_edge_is_not_confirmed() -> None:
    found = highest_rate(
        lambda rate: run(rate, 0 if rate < 400 else 500),
        lambda rate: run(rate, 0 if rate < 360 else 500),
        start=100,
    )
    assert 360 / 1.06 < found.held < 360
    assert found.failed < 400


def test_a_machine_that_became_slow_ends_the_search() -> None:
    found = highest_rate(
        lambda rate: run(rate, 0 if rate < 400 else 500), partial(run, over=500), start=100
    )
    assert found.best is None
    assert found.failed == found.told.rate
    assert 290 < found.failed < 310  # 400 less 5 %, six times
    assert len(found.trials) < 15


def test_doubt_is_no_proof_of_failure() -> None:
    # 10 of 1,000 over the bound prove neither.
    found = highest_rate(
        lambda rate: run(rate, 0 if rate < 400 else 10 if rate < 800 else 500),
        lambda rate: run(rate, 0),
        start=100,
    )
    assert found.held < 400
    assert found.failed >= 800


def test_the_noisiest_trial_counts() -> None:
    runs = [run(1, 0, Noise(0.0)), run(2, 500, Noise(0.5))]
    assert RateSearch(runs, runs[0]).noise == Noise(0.5)
    assert RateSearch([*runs, run(3, 0, Noise(None))], None).noise == Noise(None)
    assert '"noisy": true' in to_json(RateSearch(runs, runs[0]).to_object())


def test_on_a_system_with_a_queue(clock: Clock) -> None:
    system = Fixed(clock, call_s=0.002)
    trial = partial(server, system, bound_ms=20, min_duration_s=5)
    found = highest_rate(lambda rate: trial(rate=rate), lambda rate: trial(rate=rate), start=250)
    # M/D/1 at 500 a second at most: p99 of 20 ms is reached at a load of 80 to 90 %.
    assert 380 < found.held < 460
    assert found.held == pytest.approx(found.failed, rel=0.12)
