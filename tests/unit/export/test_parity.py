"""The gate: which differences pass, and what it says of those that do not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from export.parity import Flip, GateConfig, Parity, compare_answers
from runtime.errors import ConfigError, EngineError, ParityError
from runtime.scores import OperatingPoint
from tests.artifacts import SMALL_SCHEMA

Scores = dict[str, npt.NDArray[np.float32]]


def confident(count: int, seed: int = 0) -> Scores:
    """Logits whose answers are far from any other."""
    random = np.random.default_rng(seed)
    scores: Scores = {}
    for head in SMALL_SCHEMA.heads:
        chosen = random.integers(0, head.size, count)
        scores[head.name] = np.where(np.arange(head.size) == chosen[:, None], 9, -9).astype("f4")
    return scores


def copied(scores: Scores) -> Scores:
    return {name: values.copy() for name, values in scores.items()}


def compared(expected: Scores, found: Scores) -> Parity:
    names = [f"crop {i}" for i in range(len(expected["first"]))]
    return compare_answers(SMALL_SCHEMA, expected, found, OperatingPoint(), names)


def flipped(count: int, wrong: int) -> tuple[Scores, Scores]:
    """Scores of ``count`` crops, of which the first ``wrong`` have another colour."""
    expected = confident(count)
    found = copied(expected)
    found["colour"][:wrong] *= -1
    return expected, found


def test_equal_scores_pass_the_strictest_gate() -> None:
    parity = compared(confident(50), confident(50))
    parity.require(GateConfig(max_flips=0.0, max_score_difference=0.0), "fp32")
    assert parity.to_object() == {
        "crops": 50, "flips": 0, "flipped": [], "max_score_difference": 0.0,
    }  # fmt: skip


def test_rounding_passes() -> None:
    expected = confident(50)
    found = {name: values + np.float32(1e-4) for name, values in expected.items()}
    compared(expected, found).require(GateConfig(), "fp32")


def test_flips_beyond_the_limit_fail_and_are_listed() -> None:
    expected, found = flipped(100, 3)
    parity = compared(expected, found)
    assert parity.flip_share == 0.03
    with pytest.raises(ParityError) as caught:
        parity.require(GateConfig(), "int8")
    told = str(caught.value)
    assert "the int8 engine disagrees with its checkpoint on 3 of 100 crops (allowed 1.0)" in told
    lines = [line for line in told.splitlines() if "crop " in line and "engine " in line]
    assert [line.split(":")[0].strip() for line in lines] == ["crop 0", "crop 1", "crop 2"]
    for line in lines:
        before, after = line.split(", engine ")
        assert ("blue" in before) != ("blue" in after)
    assert "--gate.max-flips" in told
    parity.require(GateConfig(max_flips=0.03), "int8")
    with pytest.raises(ParityError):
        parity.require(GateConfig(max_flips=0.029), "int8")


def test_at_most_twenty_flips_are_listed() -> None:
    parity = compared(*flipped(40, 30))
    with pytest.raises(ParityError) as caught:
        parity.require(GateConfig(), "int8")
    assert str(caught.value).count("engine blue") + str(caught.value).count("engine green") <= 20
    assert len(parity.to_object()["flipped"]) == 20
    assert parity.to_object()["flips"] == 30


def test_a_flip_in_every_kind_of_head_counts() -> None:
    expected = confident(10)
    for name in ("second", "colour", "extras"):
        found = copied(expected)
        found[name][4] *= -1
        parity = compared(expected, found)
        if name != "second":  # a reading may be decoded to the same text
            assert len(parity.flipped) == 1
            assert str(parity.flipped[0]).startswith("crop 4: checkpoint ")
            assert parity.flipped[0].index == 4
        with pytest.raises(ParityError):
            parity.require(GateConfig(max_score_difference=0.02), "int8")


def test_one_flip_is_allowed_in_a_set_too_small_for_a_fraction() -> None:
    parity = compared(*flipped(50, 1))
    loose = GateConfig(max_flips=0.001, max_score_difference=1.0)
    parity.require(loose, "fp32")
    assert "one alone is 2.0%" in parity.caution(0.001)
    assert "1,000 or more" in parity.caution(0.001)
    with pytest.raises(ParityError):
        parity.require(GateConfig(max_flips=0.0, max_score_difference=1.0), "fp32")
    with pytest.raises(ParityError):
        compared(*flipped(50, 2)).require(loose, "fp32")


def test_a_set_that_says_nothing_has_no_flip_to_give() -> None:
    with pytest.raises(ParityError):
        compared(*flipped(49, 1)).require(GateConfig(max_score_difference=1.0), "int8")
    compared(*flipped(49, 0)).require(GateConfig(), "int8")
    assert "100 or more" in compared(*flipped(49, 0)).caution(0.01)
    assert compared(*flipped(50, 0)).caution(0.01) == ""
    assert compared(*flipped(200, 2)).caution(0.01) == ""


def test_probabilities_are_limited_though_answers_stay() -> None:
    expected = confident(10)
    found = {name: values / 3 for name, values in expected.items()}
    parity = compared(expected, found)
    assert not parity.flipped
    with pytest.raises(ParityError, match=r"largest probability difference 0\.\d+ \(allowed 0.005"):
        parity.require(GateConfig(), "fp32")
    parity.require(GateConfig(), "int8")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("head", ["first", "colour", "extras"])
def test_scores_that_are_no_numbers_fail(head: str, value: float) -> None:
    expected = confident(10)
    found = copied(expected)
    found[head][3, 0] = value
    with pytest.raises((EngineError, ParityError)):
        compared(expected, found).require(GateConfig(max_flips=1, max_score_difference=1), "int8")


def test_a_difference_that_is_no_number_fails() -> None:
    for flipped_crops in ([], [Flip(0, "crop 0", "blue", "green")]):
        with pytest.raises(ParityError):
            Parity(10, flipped_crops, float("nan")).require(GateConfig(max_flips=1), "int8")


def test_limits_follow_the_precision_unless_given() -> None:
    assert GateConfig().limits("fp32") == (0.001, 0.005)
    assert GateConfig().limits("fp16") == (0.001, 0.02)
    assert GateConfig().limits("bf16") == (0.001, 0.1)
    assert GateConfig().limits("int8") == (0.01, 1.0)
    assert GateConfig(max_flips=0.5).limits("fp32") == (0.5, 0.005)
    assert GateConfig(max_score_difference=0.0).limits("int8") == (0.01, 0.0)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_limits_outside_0_and_1_are_refused(value: float) -> None:
    with pytest.raises(ConfigError, match=r"gate limits must lie in \[0, 1\]"):
        GateConfig(max_flips=value)
    with pytest.raises(ConfigError, match=r"gate limits must lie in \[0, 1\]"):
        GateConfig(max_score_difference=value)
