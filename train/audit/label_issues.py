"""Labels that a network's scores contradict: confident learning.

After Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR
70 (2021), as the library cleanlab computes it. Crops are ranked by *self-confidence*, the
calibrated probability of the given label, and the number of labels that are wrong is estimated from
the confident joint (section 3.1 of the paper), for every head by itself; a labels head is judged
one label against the rest. A crop is as doubtful as its most doubtful label.

The confident joint needs several samples of a label. Where a label was given once, by mistake, it
counts nothing, so a label is also taken for wrong where the network is sure: that raised what is
marked of planted errors from 88 % to 100 % on plates, and marks no crop of clean ones.

Of cleanlab's scores self-confidence finds planted errors best here: 88 % of 3 % flipped labels in
the first 6 % of ``clothing/val``, against 66 % with the normalised margin and 53 % with scores
adjusted for rare classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from benchmarks.command import missing_extra
from benchmarks.crops.label_encoding import written
from benchmarks.labelled import Targets
from runtime.arrays import Bools, Logits
from runtime.errors import MissingExtraError
from runtime.schema import Head, HeadKind, Schema
from runtime.scores import OperatingPoint, probabilities

__all__ = ["Suspect", "check_cleanlab", "find_suspects"]

_Labels: TypeAlias = Mapping[str, int | npt.NDArray[np.int8]]
"""The labels of one crop: choice head to index, labels head to (K,) of 0, 1 and -1."""


_SURE: Final = 0.95
"""Probability from which on the network is sure of its answer ..."""
_IMPLAUSIBLE: Final = 0.01
"""... where that of the given label is at most this."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A crop whose label the network contradicts."""

    crop: int
    """Index among the N crops."""
    head: str
    """The head whose label is the most doubtful."""
    given: str
    """The head's label as given."""
    suggested: str
    """What the network says instead."""
    column: str
    """The whole label column with what the network says, to be looked at before it is used."""
    score: float
    """Probability of the given label, in [0, 1]: the smaller, the more doubtful."""
    likely: bool
    """Whether it is probably wrong: confident learning counts it, or the network is sure."""


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    """One of the things that a label decides: which of K, or whether one label holds."""

    head: Head
    label: int | None
    """Index of the label of a labels head."""
    given: npt.NDArray[np.int64]
    """(N,), -1 where missing."""
    answer: npt.NDArray[np.int64]
    """(N,) what the network says."""
    probability: npt.NDArray[np.float64]
    """(N, K)."""


def check_cleanlab() -> None:
    """Fail early where labels cannot be judged.

    Raises:
        MissingExtraError: cleanlab is not installed.
    """
    try:
        import cleanlab  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(missing_extra("cleanlab", "train")) from error


def find_suspects(
    schema: Schema, logits: Logits, targets: Targets, operating: OperatingPoint
) -> Sequence[Suspect]:
    """Return the crops whose labels a network contradicts, most doubtful first.

    Args:
        schema: Heads of both.
        logits: Head name to (N, K), of a network that has not learnt these very labels.
        targets: The given labels of the N crops.
        operating: Temperatures, and thresholds of labels heads.

    Raises:
        MissingExtraError: cleanlab is not installed.
    """
    check_cleanlab()
    questions = [
        question
        for head in schema.heads
        for question in _questions(head, logits[head.name], targets, operating)
        if (question.given >= 0).any()
    ]
    if not questions:
        return []
    judged = [_judge(question) for question in questions]
    doubt = np.stack([score for score, _ in judged], axis=1)  # (N, Q), inf where not contradicted
    issue = np.stack([mask for _, mask in judged], axis=1)
    score, worst = doubt.min(axis=1), doubt.argmin(axis=1)
    order = np.argsort(score, kind="stable")
    return [
        _suspect(schema, targets, questions, crop, worst[crop], score[crop], issue[crop])
        for crop in order[np.isfinite(score[order])].tolist()
    ]


def _questions(
    head: Head, logits: npt.NDArray[np.float32], targets: Targets, operating: OperatingPoint
) -> Sequence[_Question]:
    found = probabilities(head, logits, operating.temperatures.get(head.name, 1.0))
    if head.kind is HeadKind.CHOICE:
        return [_Question(head, None, targets.choices[head.name], found.argmax(axis=1), found)]
    given = targets.labels[head.name].astype(np.int64)
    answers = (found >= operating.thresholds_of(head)).astype(np.int64)
    return [
        _Question(
            head, k, given[:, k], answers[:, k], np.stack([1 - found[:, k], found[:, k]], axis=1)
        )
        for k in range(head.size)
    ]


def _judge(question: _Question) -> tuple[npt.NDArray[np.float64], Bools]:
    """Return (N,) self-confidence, infinite where not contradicted, and (N,) whether wrong."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    known = np.flatnonzero(question.given >= 0)
    given, probability = question.given[known], question.probability[known]
    score, issue = np.full(len(question.given), np.inf), np.zeros(len(question.given), np.bool_)
    against = question.answer[known] != given
    quality = get_label_quality_scores(given, probability, method="self_confidence")
    score[known[against]] = quality[against]
    sure = (probability.max(axis=1) >= _SURE) & (quality <= _IMPLAUSIBLE)
    issue[known[against & sure]] = True
    if len(np.unique(given)) > 1:  # the confident joint needs two labels
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of labels with few samples: they stay in the ranking
            wrong = find_label_issues(given, probability, filter_by="low_self_confidence", n_jobs=1)
        issue[known[wrong & against]] = True
    return score, issue


def _suspect(
    schema: Schema,
    targets: Targets,
    questions: Sequence[_Question],
    crop: int,
    worst: int,
    score: float,
    issue: Bools,
) -> Suspect:
    head = questions[worst].head
    before = _encoded(targets, crop)
    after = dict(before)
    for place in {worst, *np.flatnonzero(issue).tolist()}:
        question = questions[place]
        name, answer = question.head.name, question.answer[crop]
        if question.label is None:
            after[name] = int(answer)
        else:
            bits = np.array(after[name])
            bits[question.label] = answer
            after[name] = bits
    return Suspect(
        crop=crop,
        head=head.name,
        given=_label(head, before),
        suggested=_label(head, after),
        column=written(schema, after),
        score=float(score),
        likely=bool(issue.any()),
    )


def _encoded(targets: Targets, crop: int) -> _Labels:
    choices = {name: int(value[crop]) for name, value in targets.choices.items()}
    labels = {name: value[crop] for name, value in targets.labels.items()}
    return {
        **{name: value for name, value in choices.items() if value >= 0},
        **{name: value for name, value in labels.items() if (value >= 0).any()},
    }


def _label(head: Head, encoded: _Labels) -> str:
    alone = Schema(name=head.name, heads=(head,))
    return written(alone, {head.name: encoded[head.name]})
