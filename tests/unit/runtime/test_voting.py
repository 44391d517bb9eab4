from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import ConfigError, EngineError, Track, TrackOptions
from runtime.results import Result, Timings
from runtime.scores import OperatingPoint
from tests.artifacts import SMALL_SCHEMA, TinyNetwork, random_images
from tests.sessions import FakeSession, fake_reader

PLAIN = OperatingPoint()
CAREFREE = TrackOptions(correlation=0.0, doubt=1e-9, trust=0.0)


def frame(**probabilities: Mapping[str, float]) -> Result:
    """A result with these probabilities per label, and even ones in all other heads."""
    scores = {}
    for head in SMALL_SCHEMA.heads:
        wanted = probabilities.get(head.name)
        values = [1.0 if wanted is None else wanted.get(label, 1e-6) for label in head.labels]
        scores[head.name] = np.log(np.asarray(values)).astype(np.float32)
    scores["extras"] = np.zeros(3, np.float32)
    return Result(None, 0.0, False, {}, {}, Timings(1, 1, 1), scores=scores)


def fused(*frames: Result, options: TrackOptions = CAREFREE) -> Result:
    track = Track(SMALL_SCHEMA, PLAIN, options)
    for each in frames:
        track.add(each)
    answer = track.answer()
    assert answer is not None
    return answer


def test_no_frames_no_answer() -> None:
    track = Track(SMALL_SCHEMA, PLAIN)
    assert (track.answer(), track.frames, track.effective_frames) == (None, 0, 0.0)


def test_frames_that_are_each_unsure_are_sure_together() -> None:
    """No two texts are equal, so that votes for texts could not decide."""
    a = frame(first={"京": 1}, second={"0": 0.9, "1": 0.1}, third={"0": 0.4, "1": 0.6})
    b = frame(first={"京": 1}, second={"0": 0.4, "1": 0.6}, third={"0": 0.9, "1": 0.1})
    answer = fused(a, b)
    assert answer.text == "京00"
    # By hand: odds of "0" against "1" are 9 * 2/3 = 6 at the second place, and so at the third.
    assert answer.heads["second"].confidence == pytest.approx(6 / 7, rel=1e-4)
    assert answer.confidence == pytest.approx((6 / 7) ** 2, rel=1e-4)


def test_what_no_format_allows_is_not_answered() -> None:
    """By place alone this were "A", "0": no format has a digit after A."""
    unclear = frame(
        first={"A": 0.6, "京": 0.4}, second={"0": 0.9, "A": 0.1}, third={"1": 0.8, "_": 0.2}
    )
    assert fused(unclear).text == "京01"
    assert fused(unclear, unclear).text == "京01"


def test_correlation_changes_confidence_and_not_the_answer() -> None:
    frames = [frame(first={"A": 0.6, "B": 0.4}, second={"A": 0.7, "B": 0.3}) for _ in range(4)]
    found = [
        fused(*frames, options=TrackOptions(correlation=c, doubt=1e-9)) for c in (0.0, 0.5, 1.0)
    ]
    assert len({answer.text for answer in found}) == 1
    # Odds of 1.5 count 4 times, 4 / 2.5 = 1.6 times, and once.
    for answer, count in zip(found, (4, 1.6, 1), strict=True):
        odds = 1.5**count
        assert answer.heads["first"].confidence == pytest.approx(odds / (1 + odds), rel=1e-3)


def test_one_frame_is_what_the_reader_said(network: TinyNetwork) -> None:
    with fake_reader(FakeSession(network.logits), keep_scores=True) as reader:
        for image in random_images(8, seed=5):
            result = reader.read(image)
            track = reader.track(TrackOptions(doubt=1e-9))
            track.add(result, weight=3.0)
            answer = track.answer()
            assert answer is not None
            assert (answer.text, answer.accepted) == (result.text, result.accepted)
            assert answer.confidence == pytest.approx(result.confidence, rel=1e-4)
            for name, head in answer.heads.items():
                assert head.labels == result.heads[name].labels
                assert head.confidence == pytest.approx(result.heads[name].confidence, rel=1e-4)


def test_weights_count_frames() -> None:
    a = frame(first={"A": 0.6, "B": 0.4})
    b = frame(first={"A": 0.1, "B": 0.9})
    track = Track(SMALL_SCHEMA, PLAIN, CAREFREE)
    track.add(a, weight=8.0)
    track.add(b, weight=1.0)
    assert track.effective_frames == pytest.approx(81 / 65)  # Kish: (sum w)^2 / sum w^2
    answer = track.answer()
    assert answer is not None
    assert answer.heads["first"].label == "A"
    assert fused(a, b).heads["first"].label == "B"


def test_doubt_keeps_one_frame_from_deciding_alone() -> None:
    right = [frame(first={"A": 0.9, "B": 0.1}) for _ in range(3)]
    other = frame(first={"A": 1e-9, "B": 1.0})
    assert fused(*right, other).heads["first"].label == "B"
    doubtful = TrackOptions(correlation=0.0, doubt=0.02)
    assert fused(*right, other, options=doubtful).heads["first"].label == "A"


def test_frames_weigh_their_confidence() -> None:
    sure = replace(frame(first={"A": 0.9, "B": 0.1}), confidence=0.8)
    unsure = replace(frame(first={"A": 0.04, "B": 0.96}), confidence=0.2)
    assert fused(sure, unsure).heads["first"].label == "B"
    trusting = TrackOptions(correlation=1.0, doubt=1e-9, trust=2.0)
    answer = fused(sure, unsure, options=trusting)
    # By hand: weights 0.64 and 0.04, or 16 to 1; odds of A 9 and 1/24.
    odds = (9**16 / 24) ** (1 / 17)
    assert answer.heads["first"].label == "A"
    assert answer.heads["first"].confidence == pytest.approx(odds / (1 + odds), rel=1e-4)


@given(st.integers(1, 30), st.floats(0, 1), st.lists(st.floats(0.01, 100), min_size=30))
def test_effective_frames_are_at_most_frames(
    count: int, correlation: float, weights: list[float]
) -> None:
    track = Track(SMALL_SCHEMA, PLAIN, TrackOptions(correlation=correlation))
    for weight in weights[:count]:
        track.add(frame(), weight=weight)
    assert 0.999 <= track.effective_frames <= count + 1e-6
    assert track.frames == count


@given(st.permutations(range(5)))
def test_order_does_not_matter(order: list[int]) -> None:
    frames = [frame(first={"A": 0.1 + 0.2 * i, "B": 0.9 - 0.2 * i}) for i in range(5)]
    expected, found = fused(*frames), fused(*(frames[i] for i in order))
    assert found.text == expected.text
    assert found.confidence == pytest.approx(expected.confidence, rel=1e-5)


def test_thresholds_hold_for_tracks() -> None:
    sure = frame(first={"A": 0.7, "B": 0.3}, second={"A": 1}, third={"_": 1})
    point = OperatingPoint(answer_threshold=0.8)
    track = Track(SMALL_SCHEMA, point, CAREFREE)
    track.add(sure)
    one = track.answer()
    track.add(sure)
    two = track.answer()
    assert one is not None
    assert two is not None
    assert (one.accepted, two.accepted) == (False, True)


@pytest.mark.parametrize("weight", [0, -1, math.nan, math.inf])
def test_weights_that_are_none(weight: float) -> None:
    with pytest.raises(ConfigError, match="weight"):
        Track(SMALL_SCHEMA, PLAIN).add(frame(), weight=weight)


@pytest.mark.parametrize(
    "options",
    [
        {"correlation": -0.1},
        {"correlation": math.nan},
        {"doubt": 0},
        {"doubt": 1},
        {"trust": -1},
        {"trust": math.inf},
    ],
)
def test_options_that_cannot_work(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        TrackOptions(**options)


def test_results_that_cannot_be_added(network: TinyNetwork) -> None:
    with fake_reader(FakeSession(network.logits)) as reader:
        result = reader.read(random_images(1)[0])
        with pytest.raises(ConfigError, match="keep_scores"):
            reader.track()
    track = Track(SMALL_SCHEMA, PLAIN)
    with pytest.raises(ConfigError, match="keep_scores"):
        track.add(result)
    other = frame()
    assert other.scores is not None
    short = {**other.scores, "first": np.zeros(2, np.float32)}
    with pytest.raises(ConfigError, match="first"):
        track.add(Result(None, 0.0, False, {}, {}, Timings(1, 1, 1), scores=short))
    broken = {**other.scores, "first": np.full(3, np.nan, np.float32)}
    with pytest.raises(EngineError, match="first"):
        track.add(Result(None, 0.0, False, {}, {}, Timings(1, 1, 1), scores=broken))
    assert track.frames == 0
