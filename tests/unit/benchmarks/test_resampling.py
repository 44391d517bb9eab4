from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmarks.operating_point import lowest_threshold
from benchmarks.resampling import Answers, refitted_thresholds, threshold_spread
from runtime.errors import ConfigError
from runtime.scores import ACCEPT_NOTHING


def answers(samples: int, seed: int) -> Answers:
    random = np.random.default_rng(seed)
    confidence = random.beta(8, 1, samples)
    return Answers(confidence, random.random(samples) < confidence)


class Replayed:
    """A generator whose draws are known: each row one resample."""

    def __init__(self, times: np.ndarray) -> None:
        self.times = times

    def multinomial(self, count: int, shares: np.ndarray, size: int) -> np.ndarray:
        del count, shares
        return np.resize(self.times, (size, self.times.shape[1]))


@given(
    hnp.arrays(np.float64, 12, elements=st.sampled_from([0.1, 0.5, 0.9, 0.99])),
    hnp.arrays(np.bool_, 12),
    hnp.arrays(np.int64, 12, elements=st.integers(0, 3)),
    st.sampled_from([0.5, 0.9, 1.0]),
)
def test_a_refit_is_the_fit_on_the_drawn_samples(
    confidence: np.ndarray, right: np.ndarray, times: np.ndarray, floor: float
) -> None:
    order = np.argsort(-confidence, kind="stable")
    found = refitted_thresholds(
        Answers(confidence, right),
        floor,
        Replayed(times[None]),  # type: ignore[arg-type]
    )
    drawn = np.repeat(order, times)
    assert set(found) == {lowest_threshold(confidence[drawn], right[drawn], floor)}


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.resampling._CHUNK", 700)
    found = refitted_thresholds(answers(100, 0), 0.9, np.random.default_rng(1))
    assert found.shape == (1000,)
    monkeypatch.undo()
    whole = refitted_thresholds(answers(100, 0), 0.9, np.random.default_rng(1))
    assert (found == whole).all()


def test_small_validation_makes_wide_intervals() -> None:
    test = answers(2000, 1)
    small = threshold_spread(answers(100, 2), test, 0.95)
    large = threshold_spread(answers(10000, 2), test, 0.95)
    width = [spread.recall[1] - spread.recall[0] for spread in (small, large)]
    assert width[0] > 2 * width[1]
    assert small.threshold[0] < large.threshold[0]
    fitted = answers(100, 2)
    threshold = lowest_threshold(fitted.confidence, fitted.right, 0.95)
    assert small.threshold[0] <= threshold <= small.threshold[1]
    recall = ((test.confidence >= threshold) & test.right).mean()
    assert small.recall[0] <= recall <= small.recall[1]


def test_with_a_threshold_that_cannot_move_the_interval_is_the_binomial_one() -> None:
    right = np.arange(400) < 300
    test = Answers(np.where(right, 0.9, 0.1), right)
    sure = Answers(np.full(50, 0.5), np.ones(50, np.bool_))
    spread = threshold_spread(sure, test, 0.99)
    assert spread.threshold == (0.5, 0.5)
    # 0.75 +- 1.96 sqrt(0.75 * 0.25 / 400)
    assert spread.recall == pytest.approx((0.7076, 0.7924), abs=0.01)
    assert spread.precision == (1.0, 1.0)


def test_a_hopeless_network_has_no_precision() -> None:
    wrong = Answers(np.linspace(0, 1, 20), np.zeros(20, np.bool_))
    spread = threshold_spread(wrong, wrong, 0.9)
    assert spread.threshold == (ACCEPT_NOTHING, ACCEPT_NOTHING)
    assert spread.recall == (0.0, 0.0)
    assert np.isnan(spread.precision).all()


def test_the_same_seed_gives_the_same_interval_and_no_samples_none() -> None:
    one = threshold_spread(answers(50, 0), answers(60, 1), 0.9)
    assert threshold_spread(answers(50, 0), answers(60, 1), 0.9) == one
    with pytest.raises(ConfigError, match="0 validation"):
        threshold_spread(answers(0, 0), answers(10, 0), 0.9)
