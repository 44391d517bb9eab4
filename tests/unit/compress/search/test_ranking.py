from __future__ import annotations

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.budget import Limit, Outcome, judge
from compress.search.measuring import fact
from compress.search.ranking import (
    best_of,
    gaps,
    next_network,
    shortfall,
    shortfalls,
)

from .cases import EXACT, LATENCY, SIZE, confirm, record

LIMITS = (EXACT, LATENCY, SIZE)


@pytest.mark.parametrize(
    ("limit", "value", "missing"),
    [
        (LATENCY, 0.3, 0.0),
        (LATENCY, 0.4, 1 / 3),
        (EXACT, 0.98, 0.0),
        (EXACT, 0.96, 1 / 3),  # four errors in a hundred where three are allowed
        (Limit(metric="speedup.engine", min=30), 24.0, 0.2),
        (Limit(metric="versus.exact_drop", max=0.0), 0.002, 2.0),  # 0 itself gives no scale
        (Limit(metric="size.engine_mb", min=1, max=2), 1.5, 0.0),
        (Limit(metric="size.engine_mb", min=1, max=2), 0.5, 0.5),
        (LATENCY, None, inf),
        (LATENCY, nan, inf),
    ],
)
def test_a_shortfall_is_relative_to_what_is_allowed(
    limit: Limit, value: float | None, missing: float
) -> None:
    assert shortfall(limit, value) == pytest.approx(missing)


@given(st.floats(0, 1), st.floats(0, 1), st.sampled_from(["accuracy.exact", "size.engine_mb"]))
def test_a_shortfall_is_none_exactly_where_the_judge_passes(
    bound: float, value: float, metric: str
) -> None:
    for limit in (Limit(metric=metric, min=bound), Limit(metric=metric, max=bound)):
        (verdict,) = judge([fact(metric, value)], [limit])
        assert (shortfall(limit, value) == 0) == (verdict.outcome is Outcome.PASS)


def test_what_nobody_measured_has_no_shortfall() -> None:
    found = shortfalls(LIMITS, record(0.5, ms=0.6, mb=1.5).values())
    assert found == {LATENCY: pytest.approx(1.0), SIZE: pytest.approx(0.25)}


def test_a_full_training_corrects_what_short_ones_promise() -> None:
    done = confirm(record(0.5, ms=0.3, exact=0.90), LIMITS, exact=0.96)
    assert gaps([done, record(0.7, ms=0.2, exact=0.8)]) == {"accuracy.exact": pytest.approx(0.06)}


def test_what_is_nearest_to_the_budget_is_trained_first() -> None:
    records = [
        record(0.6, ms=0.3),  # was never trained
        record(0.9, ms=0.15, exact=0.80),  # misses accuracy by far
        record(0.7, ms=0.28, exact=0.95),
        record(0.5, ms=0.31, exact=0.96),  # is too slow: no training mends that
    ]
    assert next_network(records, LIMITS, "latency") == records[2].candidate.network
    records[2].failure = records[1].failure = "it cannot be quantised"
    assert next_network(records, LIMITS, "latency") == records[3].candidate.network


def test_after_a_pass_only_what_is_liked_better_and_promises_to_pass_is_trained() -> None:
    done = confirm(record(0.5, ms=0.3, exact=0.95), LIMITS, exact=0.98)
    faster = record(0.7, ms=0.2, exact=0.945)  # 0.975 with what a full training adds
    worse = record(0.9, ms=0.1, exact=0.90)  # 0.93
    slower = record(0.4, ms=0.29999, exact=0.96, mb=1.1)
    records = [done, faster, worse, slower]
    assert next_network(records, LIMITS, "latency") == faster.candidate.network
    assert next_network(records, LIMITS, "accuracy") == slower.candidate.network
    assert next_network(records, LIMITS, "size") is None
    assert next_network([done, worse], LIMITS, "latency") is None


def test_a_verdict_that_lacks_only_samples_ends_the_search_for_what_keeps_the_budget() -> None:
    unsure = confirm(record(0.5, ms=0.3, exact=0.95), LIMITS, exact=0.98, spread=0.02)
    assert unsure.confirmed is not None
    assert unsure.confirmed.outcome is Outcome.INCONCLUSIVE
    slower = record(0.4, ms=0.31, exact=0.96)
    assert next_network([unsure, slower], LIMITS, "latency") is None
    below = confirm(record(0.5, ms=0.3, exact=0.95), LIMITS, exact=0.96, spread=0.02)
    assert next_network([below, slower], LIMITS, "latency") == slower.candidate.network


def test_the_best_passes_then_is_unproven_then_is_nearest() -> None:
    failed = confirm(record(0.9, ms=0.1), LIMITS, exact=0.90)
    nearer = confirm(record(0.8, ms=0.2), LIMITS, exact=0.95)
    unsure = confirm(record(0.7, ms=0.25), LIMITS, exact=0.975, spread=0.01)
    passed = confirm(record(0.5, ms=0.3), LIMITS, exact=0.98)
    faster = confirm(record(0.6, ms=0.28), LIMITS, exact=0.975)
    everything = [failed, nearer, unsure, passed, faster, record(0.4, ms=0.1)]
    order = []
    while found := best_of(everything, LIMITS, "latency"):
        order.append(found)
        everything.remove(found)
    assert order == [faster, passed, unsure, nearer, failed]
