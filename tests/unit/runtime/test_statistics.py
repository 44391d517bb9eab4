from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from runtime.statistics import Counters, Durations, Histogram, Stats


def percentiles(durations: list[int]) -> Durations:
    histogram = Histogram()
    for duration in durations:
        histogram.add(duration)
    return histogram.read()


def test_nothing_was_measured() -> None:
    assert percentiles([]) == Durations(0, 0, 0, 0, 0)


def test_small_numbers_are_exact() -> None:
    assert percentiles(list(range(10))) == Durations(10, 5, 9, 9, 9)


@given(st.lists(st.integers(0, 10**13), min_size=1, max_size=300))
def test_percentiles_are_upper_bounds_close_to_the_truth(durations: list[int]) -> None:
    found = percentiles(durations)
    ranked = sorted(durations)
    assert (found.count, found.max_ns) == (len(durations), ranked[-1])
    for percent, value in ((50, found.p50_ns), (90, found.p90_ns), (99, found.p99_ns)):
        true = ranked[len(ranked) * percent // 100]
        assert true <= value <= math.ceil(true * 1.125)


def test_what_takes_longer_than_hours_is_no_error() -> None:
    assert percentiles([10**18]).max_ns == 10**18


def test_counters_add_up() -> None:
    counters = Counters()
    counters.count("dropped")
    counters.count("bad_images", 2)
    counters.count_call(3, 1000, 10)
    counters.count_call(3, 2000, 10)
    counters.count_call(1, 500, 10)
    counters.count_answers([5, 7], accepted=1, prepare_ns=9, queued_ns=[1])
    assert counters.read(waiting=4, deepest=6) == Stats(
        images=5, answered=2, bad_images=2, dropped=1, accepted=1, engine_calls=3,
        prepare_ns=9, engine_ns=3500, decode_ns=30, waiting=4, deepest=6,
        batch_sizes={1: 1, 3: 2},
        latency=Durations(2, 7, 7, 7, 7),
        engine=Durations(3, 1023, 2000, 2000, 2000),
        queue=Durations(1, 1, 1, 1, 1),
    )  # fmt: skip
