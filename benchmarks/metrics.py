"""How right the decoded answers are: one definition, used wherever Headlight states a number.

- *exact*: every head that the label gives is right; a reading counts as its raw text, so two
  spellings of one text (a blank in another place) are both right; where only some of its positions
  are given, these count.
- *answer*: what an embedder acts on and what confidence and thresholds are about: the reading
  where the schema has one, else all heads.
- Labels that a sample does not give are masked, never counted as wrong.

What holds per label (precision, recall, F1, average precision) is defined in ``label_scores``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from runtime.arrays import Bools
from runtime.decode import Decoded
from runtime.errors import DataError
from runtime.schema import Head, HeadKind, Reading, Schema

from .intervals import Share
from .label_scores import LabelScores, Values, average_precision, known_mean
from .labelled import Targets

__all__ = [
    "ChoiceMetrics",
    "HeadMetrics",
    "LabelsMetrics",
    "Metrics",
    "ReadingMetrics",
    "describe",
    "evaluate",
]


@dataclass(frozen=True, slots=True)
class ChoiceMetrics:
    """A choice head."""

    accuracy: Share
    confusion: npt.NDArray[np.int64]
    """(K, K) counts: row is the truth, column the answer."""
    scores: LabelScores


@dataclass(frozen=True, slots=True)
class LabelsMetrics:
    """A labels head."""

    accuracy: Share
    """Samples whose every given label is right."""
    confusion: npt.NDArray[np.int64]
    """(K, 2, 2) counts per label: row is the truth (absent, present), column the answer."""
    scores: LabelScores
    average_precision: Values
    """(K,); NaN for a label that never is true."""

    @property
    def mean_average_precision(self) -> float:
        """Mean over labels that occur; NaN if none does."""
        return known_mean(self.average_precision)


HeadMetrics: TypeAlias = ChoiceMetrics | LabelsMetrics


@dataclass(frozen=True, slots=True)
class ReadingMetrics:
    """A reading."""

    exact: Share
    """Samples whose whole raw text is right."""
    positions: Sequence[Share]
    """Accuracy of every position, in reading order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """How right N samples are."""

    exact: Share
    answer: Share
    heads: Mapping[str, HeadMetrics]
    """By head name, in output order."""
    readings: Mapping[str, ReadingMetrics]
    exact_right: Bools
    """(N,) true where every given head is right; true where none is given, see ``given``."""
    answer_right: Bools
    """(N,) true where the answer is right; meaningless where not ``answer_given``."""
    given: Bools
    """(N,) whether the label gives any head."""
    answer_given: Bools
    """(N,) whether the label gives the whole answer, which the confidence is of: the readings if
    there are any, else every head with all of its labels."""
    unit_right: Mapping[str, Bools]
    """Head or reading to (N,): whether it is right; meaningless where not ``unit_given``."""
    unit_given: Mapping[str, Bools]
    """Head or reading to (N,): whether the label gives it."""

    def __len__(self) -> int:
        return len(self.given)

    @property
    def reading_exact(self) -> Share | None:
        """Share of right readings; None for a schema without readings."""
        return self.answer if self.readings else None


def evaluate(schema: Schema, decoded: Decoded, targets: Targets) -> Metrics:
    """Compare decoded answers with the truth.

    Args:
        schema: Heads and readings of both.
        decoded: N answers.
        targets: N truths, -1 where the label is missing.

    Raises:
        DataError: answers and truths are not the same number of samples.
    """
    sizes = {len(value) for value in targets.choices.values()}
    sizes |= {len(value) for value in targets.labels.values()}
    if sizes != {len(decoded)}:
        raise DataError(f"{len(decoded)} answers cannot be judged by {sorted(sizes)} truths")
    heads: dict[str, HeadMetrics] = {}
    right: dict[str, Bools] = {}
    given: dict[str, Bools] = {}
    whole: Bools = np.ones(len(decoded), np.bool_)
    for head in schema.heads:
        if head.kind is HeadKind.CHOICE:
            truth, answer = targets.choices[head.name], decoded.choices[head.name]
            right[head.name], given[head.name] = truth == answer, truth >= 0
            whole &= truth >= 0
            heads[head.name] = _choice(head, truth, answer)
        else:
            present = targets.labels[head.name]
            right[head.name] = _sets_right(present, decoded.labels[head.name])
            given[head.name] = _sets_given(present)
            whole &= np.asarray((present >= 0).all(axis=1))
            heads[head.name] = _labels(head, present, decoded)
    readings = {}
    for reading in schema.readings:
        shares = tuple(Share.of(right[name], given[name]) for name in reading.heads)
        right[reading.name] = _texts_right(schema, reading, decoded, targets)
        given[reading.name] = np.all([given[name] for name in reading.heads], axis=0)
        readings[reading.name] = ReadingMetrics(
            Share.of(right[reading.name], given[reading.name]), shares
        )
    return _summarise(schema, heads, readings, right, given, whole)


def _summarise(
    schema: Schema,
    heads: Mapping[str, HeadMetrics],
    readings: Mapping[str, ReadingMetrics],
    right: Mapping[str, Bools],
    given: Mapping[str, Bools],
    whole: Bools,
) -> Metrics:
    """Join what holds per head and reading to what holds per sample."""
    units = [*readings, *(head.name for head in schema.free_heads)]
    exact_right: Bools = np.all([right[name] | ~given[name] for name in units], axis=0)
    any_given: Bools = np.any([given[name] for name in units], axis=0)
    for reading in schema.readings:
        for name in reading.heads:
            exact_right &= right[name] | ~given[name] | given[reading.name]
            any_given |= given[name]
    answer_right, answer_given = exact_right, whole
    if readings:
        answer_right = np.all([right[name] for name in readings], axis=0)
        answer_given = np.all([given[name] for name in readings], axis=0)
    return Metrics(
        exact=Share.of(exact_right, any_given),
        answer=Share.of(answer_right, answer_given),
        heads=heads,
        readings=readings,
        exact_right=exact_right,
        answer_right=answer_right,
        given=any_given,
        answer_given=answer_given,
        unit_right=right,
        unit_given=given,
    )


def _texts_right(schema: Schema, reading: Reading, decoded: Decoded, targets: Targets) -> Bools:
    """(N,) whether the raw text is the one that the truth spells."""
    columns = []
    for name in reading.heads:
        labels = schema.head(name).labels
        # The last entry is what index -1, a missing label, picks; such samples are masked.
        written = ["" if label == reading.blank else label for label in labels] + [""]
        columns.append([written[index] for index in targets.choices[name]])
    truth = ["".join(letters) for letters in zip(*columns, strict=True)]
    answers = decoded.readings[reading.name].raw_texts
    return np.array([a == b for a, b in zip(answers, truth, strict=True)], np.bool_)


def _choice(
    head: Head, truth: npt.NDArray[np.int64], answer: npt.NDArray[np.int64]
) -> ChoiceMetrics:
    known = truth >= 0
    pairs = truth[known] * head.size + answer[known]
    confusion = np.bincount(pairs, minlength=head.size**2).reshape(head.size, head.size)
    diagonal = confusion.diagonal()
    return ChoiceMetrics(
        accuracy=Share(int(diagonal.sum()), int(known.sum())),
        confusion=confusion,
        scores=LabelScores(
            diagonal, confusion.sum(axis=0) - diagonal, confusion.sum(axis=1) - diagonal
        ),
    )


def _labels(head: Head, present: npt.NDArray[np.int8], decoded: Decoded) -> LabelsMetrics:
    answer = decoded.labels[head.name]
    known = present >= 0
    # (K, 2, 2): truth absent or present, answer absent or present.
    confusion = np.stack(
        [
            [((present == truth) & (answer == said)).sum(axis=0) for said in (False, True)]
            for truth in (0, 1)
        ]
    ).transpose(2, 0, 1)
    probability = decoded.label_probability[head.name]
    precisions = [
        average_precision(present[known[:, k], k] == 1, probability[known[:, k], k])
        for k in range(head.size)
    ]
    return LabelsMetrics(
        accuracy=Share.of(_sets_right(present, answer), _sets_given(present)),
        confusion=confusion,
        scores=LabelScores(confusion[:, 1, 1], confusion[:, 0, 1], confusion[:, 1, 0]),
        average_precision=np.array(precisions),
    )


def _sets_right(present: npt.NDArray[np.int8], answer: Bools) -> Bools:
    """(N,) whether every given label of a labels head, (N, K), is right."""
    right: Bools = ((present < 0) | (present == answer)).all(axis=1)
    return right


def _sets_given(present: npt.NDArray[np.int8]) -> Bools:
    """(N,) whether a sample gives any label of a labels head, (N, K)."""
    given: Bools = np.asarray((present >= 0).any(axis=1))
    return given


def describe(metrics: Metrics, schema: Schema) -> Mapping[str, Any]:
    """Return all numbers for a JSON report; confusions as (truth, answer, count), largest first."""
    heads = {}
    for name, head in metrics.heads.items():
        labels, scores = schema.head(name).labels, head.scores
        entry: dict[str, Any] = {
            "accuracy": head.accuracy.to_object(),
            "macro_f1": scores.macro_f1,
            "micro_f1": scores.micro_f1,
            "labels": {
                label: {
                    "support": int(scores.support[k]),
                    "precision": float(scores.precision[k]),
                    "recall": float(scores.recall[k]),
                    "f1": float(scores.f1[k]),
                }
                for k, label in enumerate(labels)
            },
        }
        if isinstance(head, LabelsMetrics):
            entry["map"] = head.mean_average_precision
            for label, value in zip(labels, head.average_precision, strict=True):
                entry["labels"][label]["average_precision"] = float(value)
        else:
            cells = np.argwhere(head.confusion)
            cells = cells[np.argsort(-head.confusion[tuple(cells.T)], kind="stable")]
            entry["confusion"] = [
                [labels[i], labels[j], int(head.confusion[i, j])] for i, j in cells
            ]
        heads[name] = entry
    return {
        "samples": len(metrics),
        "exact": metrics.exact.to_object(),
        "answer": metrics.answer.to_object(),
        "readings": {
            name: {
                "exact": reading.exact.to_object(),
                "positions": [share.to_object() for share in reading.positions],
            }
            for name, reading in metrics.readings.items()
        },
        "heads": heads,
    }
