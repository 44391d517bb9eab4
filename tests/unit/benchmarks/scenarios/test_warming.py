from __future__ import annotations

from itertools import count

from benchmarks.scenarios import warm_up

from .fakes import Clock


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
