from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmarks.calibration import TEMPERATURE_RANGE, fit_temperatures, reliability
from runtime.errors import EngineError
from runtime.schema import Head, HeadKind

CHOICE = Head(name="choice", kind=HeadKind.CHOICE, labels=tuple("abcd"))
LABELS = Head(name="labels", kind=HeadKind.LABELS, labels=tuple("abcd"))


def fit_temperature(head: Head, logits: np.ndarray, truth: np.ndarray) -> float:
    """Of one head alone."""
    return fit_temperatures([head], {head.name: logits}, {head.name: truth})[head.name]


def drawn_from(head: Head, temperature: float, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and truths drawn from the probabilities that the temperature makes of them."""
    random = np.random.default_rng(5)
    logits = random.normal(0, 4, (samples, head.size))
    if head.kind is HeadKind.LABELS:
        truth = random.random(logits.shape) < 1 / (1 + np.exp(-logits / temperature))
        return logits, truth.astype(np.int8)
    gumbel = random.gumbel(size=logits.shape)  # argmax of logits + Gumbel is a softmax draw
    return logits, (logits / temperature + gumbel).argmax(axis=1)


@pytest.mark.parametrize("head", [CHOICE, LABELS])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_truth_is_found(head: Head, temperature: float) -> None:
    logits, truth = drawn_from(head, temperature, 4000)
    assert fit_temperature(head, logits, truth) == pytest.approx(temperature, rel=0.08)


def test_missing_labels_change_nothing() -> None:
    logits, truth = drawn_from(CHOICE, 2.0, 500)
    more = np.concatenate([logits, 50 * np.ones((100, 4))])
    padded = np.concatenate([truth, np.full(100, -1)])
    expected = fit_temperature(CHOICE, logits, truth)
    assert fit_temperature(CHOICE, more, padded) == pytest.approx(expected, rel=1e-3)


def test_perfect_separation_keeps_confidences_apart() -> None:
    truth = np.zeros(194, np.int64)
    logits = np.zeros((194, 4))
    logits[:, 0] = np.linspace(4, 15, 194)
    found = fit_temperature(CHOICE, logits, truth)
    assert TEMPERATURE_RANGE[0] < found < 1
    confidence = 1 / (1 + 3 * np.exp(-logits[:, 0] / found))
    assert len(np.unique(confidence)) == 194


def test_hopeless_network_stays_in_range() -> None:
    truth = np.arange(400) % 4
    logits = np.zeros((400, 4))
    logits[:, 0] = 100.0
    assert fit_temperature(CHOICE, logits, truth) == pytest.approx(TEMPERATURE_RANGE[1], rel=1e-3)


def test_without_samples_nothing_is_scaled() -> None:
    assert fit_temperature(CHOICE, np.ones((3, 4)), np.full(3, -1)) == pytest.approx(1, abs=1e-4)
    missing = np.full((3, 4), -1)
    assert fit_temperature(LABELS, np.ones((3, 4)), missing) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_broken_logits_are_refused(bad: float) -> None:
    logits = np.zeros((3, 4))
    logits[1, 2] = bad
    with pytest.raises(EngineError, match="'choice'"):
        fit_temperature(CHOICE, logits, np.zeros(3, np.int64))


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.95, 0.85, 0.15, 0.05])
    right = np.array([True, False, False, False])
    found = reliability(confidence, right, bins=2)
    # Upper bin: mean 0.9, half right; lower bin: mean 0.1, none right.
    assert found.count.tolist() == [2, 2]
    assert found.expected_calibration_error == pytest.approx((0.4 + 0.1) / 2)


def test_confidence_one_falls_into_the_last_bin() -> None:
    found = reliability(np.ones(3), np.ones(3, np.bool_))
    assert found.count[-1] == 3
    assert found.expected_calibration_error == 0


def test_no_samples_have_no_calibration_error() -> None:
    assert math.isnan(reliability(np.zeros(0), np.zeros(0, np.bool_)).expected_calibration_error)


@given(
    hnp.arrays(np.float64, 20, elements=st.floats(0, 1)),
    hnp.arrays(np.bool_, 20),
    st.integers(1, 30),
)
def test_calibration_error_is_a_share(confidence: np.ndarray, right: np.ndarray, bins: int) -> None:
    found = reliability(confidence, right, bins=bins)
    assert found.count.sum() == 20
    assert 0 <= found.expected_calibration_error <= 1


def test_bins_have_intervals() -> None:
    found = reliability(np.array([0.9, 0.8, 0.95, 0.7]), np.array([1, 1, 1, 0], np.bool_), bins=2)
    assert found.bounds[0].tolist() == [0.0, 1.0]
    # 3 of 4 right; Wilson's interval by the formula with z = 1.96.
    assert found.bounds[1] == pytest.approx([0.3006, 0.9544], abs=1e-4)
    (entry,) = found.to_object()["bins"]
    assert (entry["low"], entry["high"]) == tuple(found.bounds[1])


def two_heads(samples: int) -> tuple[list[Head], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Many samples of a head whose temperature is 2, and few of one that is never wrong."""
    logits, truth = drawn_from(CHOICE, 2.0, samples)
    sure = np.zeros((samples, 4))
    sure[:, 0] = 6.0
    rare = np.where(np.arange(samples) < 30, 0, -1)
    heads = [CHOICE, Head(name="rare", kind=HeadKind.CHOICE, labels=tuple("abcd"))]
    return heads, {"choice": logits, "rare": sure}, {"choice": truth, "rare": rare}


def test_a_head_with_few_samples_leans_on_the_others() -> None:
    heads, logits, truths = two_heads(2000)
    together = fit_temperatures(heads, logits, truths)
    alone = fit_temperature(heads[1], logits["rare"], truths["rare"])
    assert together["choice"] == pytest.approx(2.0, rel=0.1)
    assert alone < 1 < together["rare"] < together["choice"]


def test_a_head_without_truths_gets_the_common_temperature() -> None:
    heads, logits, truths = two_heads(2000)
    truths["rare"] = np.full(2000, -1)
    found = fit_temperatures(heads, logits, truths)
    assert found["rare"] == pytest.approx(found["choice"], rel=0.02)


def test_logits_of_masked_samples_do_not_matter() -> None:
    heads, logits, truths = two_heads(300)
    expected = fit_temperatures(heads, logits, truths)
    logits["rare"][truths["rare"] < 0] = 99.0
    assert fit_temperatures(heads, logits, truths) == expected
