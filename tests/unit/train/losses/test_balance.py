"""Weights from how often labels occur."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.losses.balance import class_weights, positive_weights


def test_class_weights_worked_by_hand() -> None:
    target = np.array([0, 0, 0, 1, 1, 2, -1, -1])
    # N / (K n) = 6/9, 6/6, 6/3; their mean over the samples is (3 * 2/3 + 2 * 1 + 1 * 2) / 6 = 1.
    assert class_weights(target, 3, 20).tolist() == pytest.approx([2 / 3, 1, 2])
    # With a limit of 1.5 the last is 1.5, and the others are scaled so that the mean is 1 again:
    # (3 * 2/3 + 2 * 1) x + 1.5 = 6.
    found = class_weights(target, 3, 1.5)
    assert found.tolist() == pytest.approx([x * 4.5 / 4 for x in (2 / 3, 1)] + [1.5])


def test_a_class_without_samples_has_the_largest_weight() -> None:
    weights = class_weights(np.array([0, 0, 1, 1]), 3, 5.0)
    assert weights.tolist() == pytest.approx([1, 1, 5])
    assert class_weights(np.array([-1, -1]), 3, 5.0).tolist() == [5.0] * 3


@given(
    st.lists(st.integers(-1, 4), min_size=1, max_size=40).map(np.array),
    st.floats(1, 50, allow_nan=False),
)
def test_class_weights_are_1_on_average(target: np.ndarray, limit: float) -> None:
    weights = class_weights(target, 5, limit)
    known = target[target >= 0]
    if known.size:
        assert weights[known].mean() == pytest.approx(1, rel=1e-5)
    assert weights.max() <= limit * (1 + 1e-6)
    assert weights.min() * limit >= 1 - 1e-6


def test_one_class_of_nearly_all_samples() -> None:
    target = np.repeat(np.arange(34), [9940, *[1, 2] * 16, 12])
    weights = class_weights(target, 34, 20)
    assert weights[1:].tolist() == pytest.approx([20] * 33)
    assert weights[target].mean() == pytest.approx(1)


def test_positive_weights_worked_by_hand() -> None:
    target = np.array(
        [[1, 0, 1, -1, 0], [0, 0, 1, -1, -1], [0, 0, 1, -1, 1], [0, 0, -1, -1, 0]], np.int8
    )
    # 3:1, 4:0 and 0:3 at their limits, nobody knows, 2:1.
    assert positive_weights(target, 10).tolist() == pytest.approx([3, 10, 0.1, 1, 2])
