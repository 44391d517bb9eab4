from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmarks.label_scores import LabelScores, average_precision


def test_average_precision_by_hand() -> None:
    # Ranked: right, wrong, right. Steps of 1/2 at precision 1 and 2/3.
    found = average_precision(np.array([True, False, True]), np.array([0.9, 0.8, 0.3]))
    assert found == pytest.approx((1 + 2 / 3) / 2)


def test_equal_scores_are_one_group() -> None:
    # Whatever the order inside the group, precision at its end is 1/2.
    for truth in ([True, False], [False, True]):
        assert average_precision(np.array(truth), np.array([0.5, 0.5])) == pytest.approx(0.5)


def test_label_that_never_is_true_has_no_average_precision() -> None:
    assert math.isnan(average_precision(np.array([False]), np.array([0.5])))
    assert math.isnan(average_precision(np.zeros(0, np.bool_), np.zeros(0)))


@given(hnp.arrays(np.bool_, 12), hnp.arrays(np.float64, 12, elements=st.floats(0, 1)))
def test_average_precision_lies_between_prevalence_bounds(truth: object, score: object) -> None:
    truth, score = np.asarray(truth), np.asarray(score)
    if truth.any():
        assert 0 < average_precision(truth, score) <= 1 + 1e-12
        assert average_precision(truth, truth.astype(float)) == pytest.approx(1)


def test_scores_of_nothing_are_nan_without_warnings() -> None:
    zero = np.zeros(2, np.int64)
    scores = LabelScores(zero, zero, zero)
    assert math.isnan(scores.macro_f1)
    assert math.isnan(scores.micro_f1)
