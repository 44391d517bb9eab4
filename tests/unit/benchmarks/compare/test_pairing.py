from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.compare import Paired, flips, mcnemar
from runtime.decode import decode
from runtime.errors import ConfigError
from runtime.scores import OperatingPoint
from tests.unit.benchmarks.cases import GARMENTS, logits_of


def test_mcnemar_by_hand() -> None:
    first = np.array([1, 1, 1, 1, 1, 0, 1, 0], np.bool_)
    second = np.array([1, 0, 0, 0, 0, 1, 1, 0], np.bool_)
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second, found.total) == (4, 1, 8)
    assert found.p_value == pytest.approx(2 * (1 + 5) / 32)
    assert found.drop == pytest.approx(3 / 8)


def test_equal_engines_do_not_differ() -> None:
    right = np.array([1, 0, 1], np.bool_)
    assert mcnemar(right, right).p_value == 1.0
    low, high = mcnemar(right, right).bounds(0.95)
    assert low < 0 < high


def test_many_samples_do_not_underflow() -> None:
    assert Paired(3000, 2000, 100_000).p_value < 1e-40
    assert Paired(2500, 2500, 100_000).p_value == 1.0


def test_no_samples_know_nothing() -> None:
    assert math.isnan(Paired(0, 0, 0).drop)
    assert Paired(0, 0, 0).bounds(0.95) == (-1.0, 1.0)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 1000))
def test_bounds_hold_the_drop_and_mirror(lost: int, gained: int, rest: int) -> None:
    total = lost + gained + rest + 1
    low, high = Paired(lost, gained, total).bounds(0.975)
    assert -1 <= low <= high <= 1
    mirrored = Paired(gained, lost, total).bounds(0.975)
    assert mirrored == pytest.approx((-high, -low))


def test_binomial_p_value_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for lost, gained in [(0, 1), (7, 2), (40, 61)]:
        expected = stats.binomtest(lost, lost + gained).pvalue
        assert Paired(lost, gained, 200).p_value == pytest.approx(expected)


def test_flips_are_found_in_every_kind_of_head() -> None:
    first = logits_of(GARMENTS, {"colour": [0, 1, 2, 0], "tags": [[0, 0]] * 4})
    second = logits_of(GARMENTS, {"colour": [0, 2, 2, 0], "tags": [[0, 0]] * 3 + [[0, 1]]})
    point = OperatingPoint()
    found = flips(decode(GARMENTS, first, point), decode(GARMENTS, second, point))
    assert found.where.tolist() == [1, 3]
    assert found.share.value == 0.5


def test_different_numbers_of_samples_cannot_be_compared() -> None:
    one = decode(GARMENTS, logits_of(GARMENTS, {"colour": [0], "tags": [[0, 0]]}), OperatingPoint())
    two = logits_of(GARMENTS, {"colour": [0, 1], "tags": [[0, 0]] * 2})
    with pytest.raises(ConfigError, match="1 samples"):
        flips(one, decode(GARMENTS, two, OperatingPoint()))
    with pytest.raises(ConfigError, match="same samples"):
        mcnemar(np.zeros(2, np.bool_), np.zeros(3, np.bool_))
