from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmarks.metrics import evaluate
from benchmarks.operating_point import (
    LabelRule,
    best_f1_threshold,
    fit_operating_point,
    lowest_threshold,
    recall_at_precision,
    unfittable,
)
from runtime.decode import decode
from runtime.errors import ConfigError, DataError, EngineError
from runtime.scores import ACCEPT_NOTHING, OperatingPoint
from tests.unit.benchmarks.cases import GARMENTS, PLATES, targets_of

# Few distinct values, so that ties are common.
CONFIDENCES = hnp.arrays(np.float64, 25, elements=st.sampled_from([0.0, 0.1, 0.5, 0.9, 0.99, 1.0]))
RIGHTS = hnp.arrays(np.bool_, 25)


def test_lowest_threshold_by_hand() -> None:
    confidence = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    right = np.array([True, True, False, True, True])
    assert lowest_threshold(confidence, right, 1.0) == 0.8
    assert lowest_threshold(confidence, right, 0.8) == 0.5  # 4 of 5, although 2 of 3 is less
    assert lowest_threshold(confidence, right, 0.75) == 0.5


def test_all_right_accepts_down_to_the_least_confident_seen() -> None:
    assert lowest_threshold(np.array([0.4, 0.9]), np.array([True, True]), 0.999) == 0.4


def test_equal_confidences_are_accepted_together_or_not_at_all() -> None:
    confidence = np.array([0.9, 0.9, 0.5])
    assert lowest_threshold(confidence, np.array([True, False, True]), 0.999) == ACCEPT_NOTHING
    assert lowest_threshold(confidence, np.array([True, True, False]), 0.999) == 0.9


def test_nothing_to_accept() -> None:
    assert lowest_threshold(np.zeros(0), np.zeros(0, np.bool_), 0.9) == ACCEPT_NOTHING
    assert lowest_threshold(np.ones(1), np.zeros(1, np.bool_), 0.9) == ACCEPT_NOTHING


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_broken_confidences_are_refused(bad: float) -> None:
    with pytest.raises(DataError, match="NaN or infinite"):
        lowest_threshold(np.array([0.5, bad]), np.array([True, True]), 0.9)


@given(CONFIDENCES, RIGHTS, st.sampled_from([0.5, 0.9, 0.999, 1.0]))
def test_the_floor_is_always_kept_and_no_cut_accepts_more(
    confidence: np.ndarray, right: np.ndarray, floor: float
) -> None:
    threshold = lowest_threshold(confidence, right, floor)
    found = recall_at_precision(confidence, right, threshold)
    assert found.accepted == 0 or found.precision.value >= floor
    for other in np.unique(confidence[confidence < threshold]):
        assert recall_at_precision(confidence, right, float(other)).precision.value < floor


@given(CONFIDENCES, RIGHTS)
def test_recall_never_grows_with_the_threshold(confidence: np.ndarray, right: np.ndarray) -> None:
    recalls = [
        recall_at_precision(confidence, right, t).recall.hits for t in np.linspace(0, 1.1, 12)
    ]
    assert recalls == sorted(recalls, reverse=True)


def test_recall_at_precision_by_hand() -> None:
    confidence = np.array([0.9, 0.8, 0.3, 0.2])
    found = recall_at_precision(confidence, np.array([True, False, True, False]), 0.5)
    assert (found.recall.hits, found.recall.total) == (1, 4)
    assert (found.precision.hits, found.accepted) == (1, 2)


def test_best_f1_threshold_lies_between_the_classes() -> None:
    probability = np.concatenate([np.linspace(0.05, 0.2, 10), np.linspace(0.3, 0.6, 10)])
    truth = np.arange(20) >= 10
    assert best_f1_threshold(probability, truth) == pytest.approx(0.25)


@pytest.mark.parametrize("rule", [LabelRule(), LabelRule(by="precision")])
def test_few_positives_leave_the_label_at_one_half(rule: LabelRule) -> None:
    assert rule.threshold(np.linspace(0, 0.3, 20), np.arange(20) >= 16) == 0.5
    assert rule.threshold(np.linspace(0, 0.3, 20), np.ones(20, np.bool_)) == 0.5


def test_a_precision_floor_calls_a_label_less_often_than_f1() -> None:
    probability = np.linspace(0.95, 0, 20)
    truth = np.isin(np.arange(20), [0, 1, 2, 3, 5, 7, 9])
    # From the top: 4 of 4, 5 of 6, 6 of 8 and 7 of 10 are right.
    assert LabelRule(by="precision").threshold(probability, truth) == probability[3]
    assert LabelRule(by="precision", precision=0.8).threshold(probability, truth) == probability[5]
    assert LabelRule(by="precision", precision=0.7).threshold(probability, truth) == probability[9]
    assert LabelRule(by="f1").threshold(probability, truth) < probability[5]


def test_a_label_that_never_keeps_the_precision_is_never_called() -> None:
    probability = np.linspace(0.95, 0, 20)
    threshold = LabelRule(by="precision").threshold(probability, np.arange(20) >= 10)
    assert threshold == ACCEPT_NOTHING


@given(
    hnp.arrays(np.float64, 20, elements=st.floats(0, 1)),
    hnp.arrays(np.bool_, 20),
    st.sampled_from([0.5, 0.8, 0.95, 1.0]),
)
def test_the_floor_of_a_label_is_kept(
    probability: np.ndarray, truth: np.ndarray, floor: float
) -> None:
    if not 5 <= truth.sum() <= 15:
        return
    called = probability >= LabelRule(by="precision", precision=floor).threshold(probability, truth)
    assert not called.any() or truth[called].mean() >= floor


@pytest.mark.parametrize(
    "options", [{"by": "recall"}, {"precision": 0.9}, {"by": "precision", "precision": 0.0}]
)
def test_rules_that_mean_nothing_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"precision"):
        LabelRule(**options)  # type: ignore[arg-type]


def test_the_rule_reaches_the_thresholds() -> None:
    random = np.random.default_rng(3)
    tags = (random.random((300, 2)) < 0.3).astype(np.int8)
    logits = {
        "colour": np.zeros((300, 3), np.float32),
        "tags": (4 * tags - 2 + random.normal(0, 2, tags.shape)).astype(np.float32),
    }
    targets = targets_of(GARMENTS, {"colour": [0] * 300, "tags": tags.tolist()})
    rule = LabelRule(by="precision", precision=0.99)
    careful = fit_operating_point(GARMENTS, logits, targets, labels=rule)
    best = fit_operating_point(GARMENTS, logits, targets)
    pairs = zip(careful.label_thresholds["tags"], best.label_thresholds["tags"], strict=True)
    assert all(a > b for a, b in pairs)


@given(hnp.arrays(np.float64, 20, elements=st.floats(0, 1)), hnp.arrays(np.bool_, 20))
def test_no_threshold_has_a_better_f1(probability: np.ndarray, truth: np.ndarray) -> None:
    if not 5 <= truth.sum() <= 15:
        return

    def f1(threshold: float) -> float:
        said = probability >= threshold
        return float(2 * (said & truth).sum() / (said.sum() + truth.sum()))

    best = f1(best_f1_threshold(probability, truth))
    assert all(f1(float(other)) <= best + 1e-12 for other in probability)


def noisy_plates(samples: int, seed: int) -> tuple[dict[str, np.ndarray], dict[str, list[object]]]:
    random = np.random.default_rng(seed)
    truth = {
        "one": random.integers(1, 3, samples),
        "two": random.integers(0, 3, samples),
        "rows": random.integers(0, 2, samples),
    }
    logits = {
        name: (4 * np.eye(head.size)[truth[name]] + random.normal(0, 1.2, (samples, head.size)))
        for name, head in ((head.name, head) for head in PLATES.heads)
    }
    return (
        {name: value.astype(np.float32) for name, value in logits.items()},
        {name: value.tolist() for name, value in truth.items()},
    )


@pytest.mark.parametrize("floor", [0.9, 0.98, 0.999])
def test_fit_keeps_the_floor_on_what_it_was_fitted_on(floor: float) -> None:
    logits, truth = noisy_plates(300, seed=1)
    targets = targets_of(PLATES, truth)
    point = fit_operating_point(PLATES, logits, targets, precision_floor=floor, fitted_on="here")
    assert (point.precision_floor, point.fitted_on) == (floor, "here")
    decoded = decode(PLATES, logits, point)
    right = evaluate(PLATES, decoded, targets).answer_right
    assert decoded.accepted.any()
    assert right[decoded.accepted].mean() >= floor
    for name in ("one", "two", "rows"):
        sure = decoded.choice_confidence[name] >= point.choice_thresholds[name]
        assert (decoded.choices[name] == targets.choices[name])[sure].mean() >= floor
    assert floor < 0.99 or "?" in "".join(decoded.readings["text"].texts)


def test_fit_survives_a_round_trip_through_the_manifest() -> None:
    logits, truth = noisy_plates(60, seed=2)
    point = fit_operating_point(PLATES, logits, targets_of(PLATES, truth))
    assert OperatingPoint.from_object(point.to_object()) == point
    point.check_schema(PLATES)


def test_label_thresholds_shape_the_answer_that_is_accepted() -> None:
    random = np.random.default_rng(0)
    tags = (random.random((200, 2)) < 0.5).astype(np.int8)
    logits = {
        "colour": np.tile(np.array([9, 0, 0], np.float32), (200, 1)),
        # "new" is only ever called with a probability under one half.
        "tags": (np.where(tags, [-1.0, 3.0], [-3.0, -3.0])).astype(np.float32),
    }
    targets = targets_of(GARMENTS, {"colour": [0] * 200, "tags": tags.tolist()})
    point = fit_operating_point(GARMENTS, logits, targets)
    assert point.label_thresholds["tags"][0] < 0.5
    decoded = decode(GARMENTS, logits, point)
    assert evaluate(GARMENTS, decoded, targets).exact.value == 1.0
    assert decoded.accepted.all()


def test_the_floor_is_kept_by_whole_answers_though_most_labels_are_missing() -> None:
    random = np.random.default_rng(1)
    colour, tags = random.integers(0, 3, 4000), random.random((4000, 2)) < 0.5
    logits = {
        "colour": (2 * np.eye(3)[colour] + random.normal(0, 1.2, (4000, 3))).astype(np.float32),
        "tags": (np.where(tags, 2.5, -2.5) + random.normal(0, 1.2, (4000, 2))).astype(np.float32),
    }
    full = targets_of(GARMENTS, {"colour": colour.tolist(), "tags": tags.astype(int).tolist()})
    rare = random.random(4000) < 0.2
    partly = targets_of(
        GARMENTS,
        {
            "colour": np.where(rare, colour, -1).tolist(),
            "tags": tags.astype(int).tolist(),
        },
    )
    point = fit_operating_point(GARMENTS, logits, partly, precision_floor=0.9)
    decoded = decode(GARMENTS, logits, point)
    right = evaluate(GARMENTS, decoded, full).answer_right
    assert decoded.accepted.sum() > 400
    assert right[decoded.accepted].mean() > 0.87  # as far as 800 samples can tell


def test_heads_that_no_sample_labels_together_accept_no_whole_answer() -> None:
    random = np.random.default_rng(2)
    colour, tags = random.integers(0, 3, 100), (random.random((100, 2)) < 0.5).astype(int)
    logits = {
        "colour": (9 * np.eye(3)[colour]).astype(np.float32),
        "tags": (18.0 * tags - 9).astype(np.float32),
    }
    tags[:50], colour[50:] = -1, -1
    targets = targets_of(GARMENTS, {"colour": colour.tolist(), "tags": tags.tolist()})
    assert ["whole answers" in note for note in unfittable(GARMENTS, targets)] == [True]
    point = fit_operating_point(GARMENTS, logits, targets)
    assert point.answer_threshold == ACCEPT_NOTHING
    assert point.choice_thresholds["colour"] < 1
    assert not decode(GARMENTS, logits, point).accepted.any()


def test_what_nobody_labelled_is_told() -> None:
    full = {"colour": [0, 1], "tags": [[0, 1], [1, 0]]}
    assert unfittable(GARMENTS, targets_of(GARMENTS, full)) == []
    silent = unfittable(GARMENTS, targets_of(GARMENTS, {**full, "tags": [[-1, -1]] * 2}))
    assert silent[0].startswith("no validation sample labels tags:")
    spoken = {"one": [1, -1], "two": [-1, 2], "rows": [0, 0]}
    with pytest.raises(DataError, match="none of 2 validation samples labels the answer"):
        unfittable(PLATES, targets_of(PLATES, spoken))


def test_validation_without_answers_cannot_fit() -> None:
    logits, truth = noisy_plates(20, seed=3)
    truth["one"] = [-1] * 20
    with pytest.raises(DataError, match="labels the answer"):
        fit_operating_point(PLATES, logits, targets_of(PLATES, truth))


@pytest.mark.parametrize("floor", [0.0, 1.1, float("nan")])
def test_impossible_floors_are_refused(floor: float) -> None:
    logits, truth = noisy_plates(20, seed=3)
    with pytest.raises(ConfigError, match="floor"):
        fit_operating_point(PLATES, logits, targets_of(PLATES, truth), precision_floor=floor)


def test_planted_nan_fails() -> None:
    logits, truth = noisy_plates(20, seed=3)
    logits["rows"][7, 0] = np.nan
    with pytest.raises(EngineError, match="rows"):
        fit_operating_point(PLATES, logits, targets_of(PLATES, truth))


def test_thresholds_of_a_hopeless_network_accept_nothing() -> None:
    logits, truth = noisy_plates(50, seed=4)
    wrong = replace(targets_of(PLATES, truth))
    wrong.choices["one"][:] = 0  # never answered: every reading is wrong
    point = fit_operating_point(PLATES, logits, wrong)
    assert point.answer_threshold == ACCEPT_NOTHING
    assert not decode(PLATES, logits, point).accepted.any()
