from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.intervals import Share, min_queries, quantile_bounds, student_t, wilson, within


def test_wilson_by_hand() -> None:
    # z = 1.96: centre (0.8 + 0.19207) / 1.38415, reach sqrt(0.016 + 0.0096) * 1.96 / 1.38415.
    low, high = wilson(8, 10)
    assert low == pytest.approx(0.49016, abs=1e-4)
    assert high == pytest.approx(0.94332, abs=1e-4)


def test_wilson_without_samples_knows_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert math.isnan(Share(0, 0).value)
    assert str(Share(0, 0)) == "no samples"


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_stays_inside(counts: tuple[int, int]) -> None:
    share = Share(*counts)
    low, high = share.interval()
    assert 0 <= low <= share.value <= high <= 1
    one_sided = share.bounds(0.95)
    assert low <= one_sided[0] <= share.value <= one_sided[1] <= high


@pytest.mark.parametrize(
    ("quantile", "over", "floor"),
    [(0.9, 0, 44), (0.9, 1, 64), (0.95, 0, 90), (0.95, 1, 130), (0.99, 0, 459), (0.99, 1, 662)],
)
def test_floors_are_those_of_loadgen(quantile: float, over: int, floor: int) -> None:
    assert min_queries(quantile, over=over) == floor


def test_p999_floor_of_loadgen() -> None:
    assert min_queries(0.999) == 6636


def test_quantile_bounds_from_the_floor_on() -> None:
    assert quantile_bounds(np.arange(63), 0.9)[1] == math.inf
    low, high = quantile_bounds(np.arange(64), 0.9)
    assert high == 63  # one may lie above, and the largest is counted as that one
    assert 0 < low < 0.9 * 64


def test_few_samples_have_no_lower_bound() -> None:
    assert quantile_bounds(np.arange(7, 10), 0.5) == (0.0, math.inf)


def test_quantile_bounds_do_not_underflow() -> None:
    low, high = quantile_bounds(np.arange(200_000), 0.99)
    assert low < 198_000 < high
    assert high - low < 500


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
def test_bounds_cover_the_true_quantile(quantile: float) -> None:
    random = np.random.default_rng(3)
    misses = 0
    for _ in range(300):
        sample = np.sort(random.integers(0, 1_000_000, 700))
        low, high = quantile_bounds(sample, quantile, 0.99)
        misses += not low <= quantile * 1_000_000 <= high
    assert misses <= 15  # two bounds of 1 % each: 6 expected of 300


def test_within_by_hand() -> None:
    # 0.9^44 = 0.0097: 44 samples without one over the limit prove a p90; 43 do not.
    assert within(0, 44, 0.9) is True
    assert within(0, 43, 0.9) is None
    # 0.1^2 = 0.01 and three of three over the limit are rarer still.
    assert within(3, 3, 0.9) is False
    assert within(0, 0, 0.9) is None


@given(st.integers(1, 800).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_within_agrees_with_the_bounds_of_the_quantile(counts: tuple[int, int]) -> None:
    over, total = counts
    limit = total - over + 0.5  # of the samples 1 .. total
    low, high = quantile_bounds(np.arange(1, total + 1), 0.9)
    found = within(over, total, 0.9)
    if high <= limit:
        assert found is True
    assert (found is False) == (low > limit)


@pytest.mark.parametrize(
    ("confidence", "freedom", "table"),
    [(0.95, 9, 1.8331), (0.975, 9, 2.2622), (0.975, 2, 4.3027), (0.99, 9, 2.8214)],
)
def test_student_t_is_that_of_the_tables(confidence: float, freedom: int, table: float) -> None:
    assert student_t(confidence, freedom) == pytest.approx(table, rel=0.01)


def test_student_t_becomes_the_normal_distribution() -> None:
    assert student_t(0.975, 10**6) == pytest.approx(1.95996, abs=1e-4)
