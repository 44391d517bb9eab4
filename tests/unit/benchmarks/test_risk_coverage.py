from __future__ import annotations

from itertools import permutations
from math import isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmarks.risk_coverage import risk_coverage
from runtime.errors import DataError

CONFIDENCES = hnp.arrays(np.float64, 20, elements=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))
RIGHTS = hnp.arrays(np.bool_, 20)


def test_curve_by_hand() -> None:
    found = risk_coverage(np.array([0.2, 0.9, 0.8, 0.4]), np.array([True, True, False, True]))
    assert found.threshold.tolist() == [0.9, 0.8, 0.4, 0.2]
    assert found.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert found.risk.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1 / 4])
    assert found.area == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 4)
    # A perfect order has its one mistake last: area 1/16.
    assert found.excess == pytest.approx(found.area - 1 / 16)


def test_ties_count_as_the_mean_over_all_their_orders() -> None:
    confidence = np.array([0.9, 0.5, 0.5, 0.5, 0.1])
    right = np.array([True, False, True, True, False])
    areas = []
    for order in permutations([1, 2, 3]):
        wrong = ~right[[0, *order, 4]]
        areas.append((np.cumsum(wrong) / np.arange(1, 6)).mean())
    assert risk_coverage(confidence, right).area == pytest.approx(np.mean(areas))


def test_no_samples_and_broken_confidences() -> None:
    empty = risk_coverage(np.zeros(0), np.zeros(0, np.bool_))
    assert isnan(empty.area)
    assert isnan(empty.excess)
    assert empty.to_object()["risk"].tolist() == []
    with pytest.raises(DataError, match="NaN"):
        risk_coverage(np.array([np.nan]), np.array([True]))


@given(CONFIDENCES, RIGHTS)
def test_only_the_order_counts(confidence: np.ndarray, right: np.ndarray) -> None:
    found = risk_coverage(confidence, right)
    assert risk_coverage(np.exp(3 * confidence), right).area == pytest.approx(found.area)
    assert found.risk[-1] == pytest.approx(1 - right.mean())
    assert found.excess >= -1e-12


@given(RIGHTS)
def test_a_perfect_order_has_no_excess_and_the_worst_has_the_most(right: np.ndarray) -> None:
    best = risk_coverage(right + np.linspace(0, 0.1, 20), right)
    worst = risk_coverage(~right + np.linspace(0, 0.1, 20), right)
    assert best.excess == pytest.approx(0)
    assert worst.area >= best.area


def test_long_curves_are_thinned_in_reports() -> None:
    random = np.random.default_rng(0)
    value = risk_coverage(random.random(5000), random.random(5000) < 0.9).to_object()
    assert len(value["risk"]) == 200
    assert value["coverage"][-1] == 1.0
