from __future__ import annotations

import json
import math

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.labelled import Targets
from benchmarks.metrics import ChoiceMetrics, LabelsMetrics, Metrics, describe, evaluate
from benchmarks.report import to_json
from runtime.decode import decode
from runtime.errors import DataError
from runtime.schema import Head, HeadKind, Schema
from runtime.scores import OperatingPoint
from tests.unit.benchmarks.cases import GARMENTS, PLATES, logits_of, targets_of


def judged(schema: Schema, answers: dict[str, list[object]], truth: Targets) -> Metrics:
    return evaluate(schema, decode(schema, logits_of(schema, answers), OperatingPoint()), truth)


def test_exact_needs_every_head_and_masks_missing_ones() -> None:
    answers: dict[str, list[object]] = {
        "colour": [0, 1, 2, 0, 1],
        "tags": [[1, 0], [1, 0], [0, 1], [0, 0], [1, 1]],
    }
    truth = targets_of(
        GARMENTS,
        {
            # right, wrong tag, colour missing and tags right, tags missing, nothing given
            "colour": [0, 1, -1, 2, -1],
            "tags": [[1, 0], [1, 1], [-1, 1], [-1, -1], [-1, -1]],
        },
    )
    metrics = judged(GARMENTS, answers, truth)
    assert (metrics.exact.hits, metrics.exact.total) == (2, 4)
    assert metrics.given.tolist() == [True, True, True, True, False]
    assert metrics.exact_right[:4].tolist() == [True, False, True, False]
    assert (metrics.heads["colour"].accuracy.hits, metrics.heads["colour"].accuracy.total) == (2, 3)
    assert (metrics.heads["tags"].accuracy.hits, metrics.heads["tags"].accuracy.total) == (2, 3)
    assert metrics.reading_exact is None
    # A confidence is that of all heads, so only samples that give all of them can judge it.
    assert metrics.answer_given.tolist() == [True, True, False, False, False]
    assert (metrics.answer.hits, metrics.answer.total) == (1, 2)


def test_reading_counts_as_text_and_is_the_answer() -> None:
    answers: dict[str, list[object]] = {"one": [1, 0, 2], "two": [2, 1, 2], "rows": [0, 0, 1]}
    # "AB" right; "_A" against "A_": the same text; "BB" against "BA" with the other head right.
    truth = targets_of(PLATES, {"one": [1, 1, 2], "two": [2, 0, 1], "rows": [1, 0, 1]})
    metrics = judged(PLATES, answers, truth)
    assert metrics.answer_right.tolist() == [True, True, False]
    assert metrics.exact_right.tolist() == [False, True, False]
    assert metrics.reading_exact == metrics.readings["text"].exact
    assert [share.hits for share in metrics.readings["text"].positions] == [2, 1]


def test_a_half_given_reading_is_judged_by_its_positions() -> None:
    truth = targets_of(PLATES, {"one": [1, 2, 2], "two": [-1] * 3, "rows": [-1, 0, 1]})
    metrics = judged(PLATES, {"one": [1, 1, 2], "two": [1] * 3, "rows": [0, 0, 0]}, truth)
    assert metrics.answer.total == metrics.readings["text"].exact.total == 0
    assert (metrics.heads["one"].accuracy.hits, metrics.heads["one"].accuracy.total) == (2, 3)
    # Right; the position wrong; the position right and the other head wrong.
    assert metrics.exact_right.tolist() == [True, False, False]
    assert metrics.given.all()


def test_choice_scores_by_hand() -> None:
    answers: dict[str, list[object]] = {"colour": [0, 0, 1, 1, 0], "tags": [[0, 0]] * 5}
    truth = targets_of(GARMENTS, {"colour": [0, 1, 1, 0, 0], "tags": [[-1, -1]] * 5})
    head = judged(GARMENTS, answers, truth).heads["colour"]
    assert isinstance(head, ChoiceMetrics)
    assert head.confusion.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert head.scores.precision[:2].tolist() == pytest.approx([2 / 3, 1 / 2])
    assert head.scores.recall[:2].tolist() == pytest.approx([2 / 3, 1 / 2])
    assert math.isnan(head.scores.f1[2])  # never true, never answered
    assert head.scores.macro_f1 == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert head.scores.micro_f1 == pytest.approx(head.accuracy.value)


def test_labels_scores_by_hand() -> None:
    answers: dict[str, list[object]] = {
        "colour": [0] * 4,
        "tags": [[1, 0], [1, 0], [0, 0], [1, 0]],
    }
    truth = targets_of(GARMENTS, {"colour": [-1] * 4, "tags": [[1, 0], [0, 1], [1, -1], [-1, 1]]})
    head = judged(GARMENTS, answers, truth).heads["tags"]
    assert isinstance(head, LabelsMetrics)
    # "new": TP 1, FP 1, FN 1, one masked; "worn": TN 1, FN 2, one masked.
    assert head.confusion.tolist() == [[[0, 1], [1, 1]], [[1, 0], [2, 0]]]
    assert head.scores.f1.tolist() == pytest.approx([0.5, 0.0])
    assert head.scores.macro_f1 == pytest.approx(0.25)
    assert head.scores.micro_f1 == pytest.approx(2 * 1 / (2 * 1 + 1 + 3))


def random_case(
    seed: int, samples: int = 200
) -> tuple[Schema, dict[str, npt.NDArray[np.float32]], Targets]:
    random = np.random.default_rng(seed)
    labels = tuple("abcdefg")
    schema = Schema(
        name="random",
        heads=(
            Head(name="choice", kind=HeadKind.CHOICE, labels=labels),
            Head(name="labels", kind=HeadKind.LABELS, labels=labels),
        ),
    )
    choice = random.integers(0, 7, samples)
    several = (random.random((samples, 7)) < 0.3).astype(np.int8)
    logits = {
        # Rounded, so that equal scores occur.
        "choice": (np.eye(7)[choice] + random.normal(0, 1, (samples, 7))).astype(np.float32),
        "labels": np.round(several + random.normal(0, 1, (samples, 7)) - 0.5, 1).astype(np.float32),
    }
    return schema, logits, Targets({"choice": choice}, {"labels": several})


@pytest.mark.parametrize("seed", range(3))
def test_f1_and_map_agree_with_scikit_learn(seed: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    schema, logits, targets = random_case(seed)
    decoded = decode(schema, logits, OperatingPoint())
    metrics = evaluate(schema, decoded, targets)
    pairs = {
        "choice": (targets.choices["choice"], decoded.choices["choice"]),
        "labels": (targets.labels["labels"], decoded.labels["labels"]),
    }
    for name, (truth, answer) in pairs.items():
        scores = metrics.heads[name].scores
        per_label = sklearn.precision_recall_fscore_support(truth, answer, zero_division=0)
        assert scores.precision == pytest.approx(per_label[0])
        assert scores.recall == pytest.approx(per_label[1])
        assert scores.macro_f1 == pytest.approx(sklearn.f1_score(truth, answer, average="macro"))
        assert scores.micro_f1 == pytest.approx(sklearn.f1_score(truth, answer, average="micro"))
    labels = metrics.heads["labels"]
    assert isinstance(labels, LabelsMetrics)
    expected = sklearn.average_precision_score(
        targets.labels["labels"], decoded.label_probability["labels"], average="macro"
    )
    assert labels.mean_average_precision == pytest.approx(expected)


def test_answers_and_truths_must_be_the_same_samples() -> None:
    truth = targets_of(PLATES, {"one": [1, 1], "two": [1, 1], "rows": [0, 0]})
    with pytest.raises(DataError, match="1 answers"):
        judged(PLATES, {"one": [1], "two": [1], "rows": [0]}, truth)


def test_description_is_json_with_confusions_by_name() -> None:
    truth = targets_of(PLATES, {"one": [1, 1, 2], "two": [0, 0, 0], "rows": [0, 0, -1]})
    answers: dict[str, list[object]] = {"one": [2, 2, 2], "two": [0, 0, 0], "rows": [0, 0, 0]}
    value = json.loads(to_json(describe(judged(PLATES, answers, truth), PLATES)))
    assert value["heads"]["one"]["confusion"] == [["A", "B", 2], ["B", "B", 1]]
    assert value["heads"]["one"]["labels"]["_"]["f1"] is None
    assert value["readings"]["text"]["exact"]["hits"] == 1
