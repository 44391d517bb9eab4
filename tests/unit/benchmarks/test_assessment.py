"""What keeps stated accuracies honest: truth judges answers, and never makes them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.assessment import assess, check_named
from benchmarks.budget import Limit
from benchmarks.labelled import Targets
from benchmarks.operating_point import fit_operating_point
from runtime.errors import ConfigError
from runtime.schema import Head, HeadKind, Reading, Schema
from runtime.scores import OperatingPoint
from tests.unit.benchmarks.cases import GARMENTS, PLATES, logits_of, targets_of

MIXED = Schema(
    name="mixed",
    heads=(
        Head(name="one", kind=HeadKind.CHOICE, labels=("_", "A", "B")),
        Head(name="two", kind=HeadKind.CHOICE, labels=("_", "A", "B")),
        Head(name="colour", kind=HeadKind.CHOICE, labels=("red", "blue")),
        Head(name="tags", kind=HeadKind.LABELS, labels=("new", "worn", "torn")),
    ),
    readings=(Reading(name="text", heads=("one", "two"), blank="_"),),
)
SEEDS = st.integers(0, 10_000)


def drawn(seed: int, samples: int = 40) -> tuple[dict[str, np.ndarray], Targets]:
    """Logits of a fair network, and truths of which a fifth is missing."""
    random = np.random.default_rng(seed)
    logits, choices, labels = {}, {}, {}
    for head in MIXED.heads:
        if head.kind is HeadKind.CHOICE:
            truth = random.integers(0, head.size, samples)
            clean = 3 * np.eye(head.size)[truth]
            choices[head.name] = np.where(random.random(samples) < 0.2, -1, truth)
        else:
            present = random.integers(0, 2, (samples, head.size))
            clean = 4.0 * present - 2
            masked = random.random(present.shape) < 0.2
            labels[head.name] = np.where(masked, -1, present).astype(np.int8)
        noisy = clean + random.normal(0, 1, clean.shape)
        logits[head.name] = noisy.astype(np.float32)
    return logits, Targets(choices, labels)


@given(SEEDS)
def test_truth_never_changes_an_answer(seed: int) -> None:
    logits, targets = drawn(seed)
    point = fit_operating_point(MIXED, *drawn(seed + 1), precision_floor=0.9)
    shuffled = targets.take(np.random.default_rng(seed).permutation(40))
    hidden = Targets(
        {name: np.full_like(value, -1) for name, value in targets.choices.items()},
        {name: np.full_like(value, -1) for name, value in targets.labels.items()},
    )
    first, *others = [assess(MIXED, logits, t, point).decoded for t in (targets, shuffled, hidden)]
    for other in others:
        assert other.readings["text"].texts == first.readings["text"].texts
        assert (other.accepted == first.accepted).all()
        assert all((other.choices[n] == value).all() for n, value in first.choices.items())
        assert all((other.labels[n] == value).all() for n, value in first.labels.items())


@given(SEEDS)
def test_test_data_never_moves_the_operating_point(seed: int) -> None:
    validation = assess_validation(seed)
    before = validation.operating.to_object()
    found = assess(MIXED, *drawn(seed + 1), validation.operating, validation=validation)
    assert found.operating is validation.operating
    assert validation.operating.to_object() == before
    # The same validation samples give the same point, whatever was tested in between.
    assert assess_validation(seed).operating.to_object() == before
    assert found.accepted is not None
    assert found.accepted.threshold == before["answer_threshold"]


def assess_validation(seed: int):  # type: ignore[no-untyped-def]
    logits, targets = drawn(seed, 60)
    point = fit_operating_point(MIXED, logits, targets, precision_floor=0.9)
    return assess(MIXED, logits, targets, point)


@given(SEEDS, st.floats(0, 1), st.floats(0, 1))
def test_a_higher_threshold_never_accepts_more(seed: int, one: float, other: float) -> None:
    logits, targets = drawn(seed)
    low, high = sorted((one, other))
    points = [
        OperatingPoint(
            answer_threshold=threshold,
            choice_thresholds={"one": threshold, "two": threshold},
            label_thresholds={"tags": (threshold,) * 3},
        )
        for threshold in (low, high)
    ]
    lenient, strict = (assess(MIXED, logits, targets, point) for point in points)
    # Label thresholds do not enter a reading's confidence.
    assert not (strict.decoded.accepted & ~lenient.decoded.accepted).any()
    assert not (strict.decoded.labels["tags"] & ~lenient.decoded.labels["tags"]).any()
    for name in ("one", "two"):
        accepted = [a.decoded.choice_accepted[name] for a in (strict, lenient)]
        assert not (accepted[0] & ~accepted[1]).any()
    assert strict.accepted is not None
    assert lenient.accepted is not None
    assert strict.accepted.recall.hits <= lenient.accepted.recall.hits


@given(SEEDS)
def test_samples_without_any_label_change_nothing(seed: int) -> None:
    logits, targets = drawn(seed)
    point = fit_operating_point(MIXED, logits, targets, precision_floor=0.9)
    more, junk = drawn(seed + 1)
    wider = {name: np.concatenate([value, more[name]]) for name, value in logits.items()}
    padded = Targets.joined(
        [
            targets,
            Targets(
                {name: np.full_like(value, -1) for name, value in junk.choices.items()},
                {name: np.full_like(value, -1) for name, value in junk.labels.items()},
            ),
        ]
    )
    again = fit_operating_point(MIXED, wider, padded, precision_floor=0.9)
    # Sums over other arrays may round differently in the last digits.
    assert again.temperatures == pytest.approx(point.temperatures, rel=1e-3)
    found, wide = assess(MIXED, logits, targets, point), assess(MIXED, wider, padded, point)
    assert wide.metrics.exact == found.metrics.exact
    assert wide.accepted == found.accepted
    assert wide.risk.area == pytest.approx(found.risk.area)
    assert (wide.truth_probability[40:] == 1).all()


def test_probability_of_the_truth_by_hand() -> None:
    # One logit of 8 against two zeros; 0.5 for each label of the labels head.
    logits = {
        "colour": np.array([[8.0, 0, 0]] * 3, np.float32),
        "tags": np.zeros((3, 2), np.float32),
    }
    targets = targets_of(GARMENTS, {"colour": [0, 1, -1], "tags": [[1, 0], [-1, -1], [-1, 1]]})
    found = assess(GARMENTS, logits, targets, OperatingPoint(temperatures={"colour": 4.0}))
    sure = np.exp(2) / (np.exp(2) + 2)
    expected = [sure / 4, np.exp(0) / (np.exp(2) + 2), 0.5]
    assert found.truth_probability == pytest.approx(expected)


def test_validation_is_told_of_only_with_a_floor() -> None:
    answers = {"one": [1, 2, 1], "two": [1, 1, 1], "rows": [0, 0, 0]}
    logits, targets = logits_of(PLATES, answers), targets_of(PLATES, answers)
    point = fit_operating_point(PLATES, logits, targets)
    validation = assess(PLATES, logits, targets, point)
    found = assess(PLATES, logits, targets, point, validation=validation)
    assert found.validated is not None
    assert (found.validated.precision.hits, found.validated.precision.total) == (3, 3)
    assert "1.0000 (0.4385-1.0000)" in found.rows()["precision on validation"]
    bare = replace(point, precision_floor=None)
    unknown = assess(PLATES, logits, targets, bare)
    assert assess(PLATES, logits, targets, bare, validation=unknown).validated is None
    assert "precision on validation" not in validation.rows()


def test_validation_that_never_gives_all_heads_has_nothing_to_draw_from() -> None:
    answers: dict[str, list[object]] = {"colour": [0, 1, 2], "tags": [[1, 0], [0, 1], [1, 1]]}
    logits, targets = logits_of(GARMENTS, answers), targets_of(GARMENTS, answers)
    half = targets_of(GARMENTS, {**answers, "colour": [-1] * 3})
    point = fit_operating_point(GARMENTS, logits, half)
    validation = assess(GARMENTS, logits, half, point)
    assert not len(validation.answers)
    assert assess(GARMENTS, logits, targets, point, validation=validation).validated is None


def test_limits_are_on_what_is_measured_of_the_schema() -> None:
    point = fit_operating_point(MIXED, *drawn(1), precision_floor=0.5)
    measured = assess(MIXED, *drawn(0), point).measurements()
    check_named([Limit(metric=each.metric, min=0.5) for each in measured], MIXED)
    check_named([Limit(metric="latency.overhead", max=0.5)], MIXED)
    for metric in ("head.text", "reading.one", "head.one.map", "head.colour.macrof1", "head.color"):
        with pytest.raises(ConfigError, match=rf"accuracy\.{metric}.*did you mean accuracy\."):
            check_named([Limit(metric=f"accuracy.{metric}", min=0.5)], MIXED)
