"""Tables of an evaluation that a person looks things up in: heads, labels, confusions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.assessment import Assessment
from benchmarks.crops.targets import Targets
from benchmarks.intervals import Share
from benchmarks.metrics import ChoiceMetrics, HeadMetrics, LabelsMetrics
from benchmarks.page import Cell, Matrix
from benchmarks.report import Rows
from runtime.arrays import Bools
from runtime.schema import Head, HeadKind

__all__ = ["confusion_matrix", "confusion_rows", "head_rows", "label_rows"]

_RARE: Final = 10
"""A label that is true less often is marked: its scores rest on a handful of samples."""
_MAX_LABELS: Final = 60
"""A larger matrix could not be read; the labels that occur least are left out of it."""
_FAINTEST: Final = 0.15
"""Shade of the smallest count that is not zero."""


def head_rows(found: Assessment, targets: Targets) -> Rows:
    """Return a row per head: how right it is, and what it prints at its threshold.

    Args:
        found: What was measured.
        targets: The truths that it was measured on.
    """
    places = {
        name: f"{reading.name} {number}"
        for reading in found.schema.readings
        for number, name in enumerate(reading.heads, start=1)
    }
    rows = []
    for head in found.schema.heads:
        metrics = found.metrics.heads[head.name]
        row = {
            "head": head.name,
            "position": places.get(head.name, "-"),
            "accuracy": str(metrics.accuracy),
            "macro F1": _score(metrics.scores.macro_f1),
            "temperature": f"{found.operating.temperatures.get(head.name, 1.0):.3f}",
        }
        if head.kind is HeadKind.CHOICE:
            row |= _abstention(found, targets, head)
        rows.append(row)
    return rows


def _abstention(found: Assessment, targets: Targets, head: Head) -> dict[str, str]:
    """What a choice head does at its threshold, below which its position prints ``?``."""
    threshold = found.operating.choice_thresholds.get(head.name)
    if threshold is None:
        return {"threshold": "-"}
    truth, sure = targets.choices[head.name], found.decoded.choice_accepted[head.name]
    right: Bools = found.decoded.choices[head.name] == truth
    known: Bools = truth >= 0
    return {
        "threshold": f"{threshold:.4f}",
        "above it": str(Share.of(sure, known)),
        "precision above it": str(Share.of(right, sure & known)),
    }


def label_rows(head: Head, metrics: HeadMetrics, thresholds: npt.NDArray[np.float64]) -> Rows:
    """Return a row per label that is true or answered somewhere, the worst F1 first.

    Args:
        head: The head, for its labels.
        metrics: What was found for it.
        thresholds: (K,) of a labels head; not read for a choice head.
    """
    scores = metrics.scores
    occurs = np.flatnonzero(scores.support + scores.true_positives + scores.false_positives)
    rows = []
    for k in occurs[np.argsort(scores.f1[occurs], kind="stable")].tolist():
        support = int(scores.support[k])
        row = {
            "label": head.labels[k],
            "support": str(support),
            "precision": _score(scores.precision[k]),
            "recall": _score(scores.recall[k]),
            "F1": _score(scores.f1[k]),
        }
        if isinstance(metrics, LabelsMetrics):
            row["average precision"] = _score(metrics.average_precision[k])
            row["threshold"] = f"{thresholds[k]:.4f}"
        rows.append({**row, "": _remark(support)})
    return rows


def _remark(support: int) -> str:
    if not support:
        return "never true, only answered"
    return f"rare: fewer than {_RARE}" if support < _RARE else ""


def confusion_rows(found: Assessment, *, limit: int = 25) -> Rows:
    """Return the most frequent confusions of all choice heads, most frequent first.

    Args:
        found: What was measured.
        limit: Most rows.
    """
    cells: list[tuple[int, int, Head, int, int]] = []
    for head in found.schema.heads:
        metrics = found.metrics.heads[head.name]
        if isinstance(metrics, ChoiceMetrics):
            wrong = metrics.confusion * (1 - np.eye(head.size, dtype=np.int64))
            support = metrics.scores.support
            cells += [
                (int(wrong[i, j]), int(support[i]), head, i, j)
                for i, j in np.argwhere(wrong).tolist()
            ]
    cells.sort(key=lambda cell: -cell[0])
    return [
        {
            "head": head.name,
            "truth": head.labels[i],
            "answer": head.labels[j],
            "count": str(count),
            "share of this truth": f"{count / support:.1%} of {support}",
        }
        for count, support, head, i, j in cells[:limit]
    ]


def confusion_matrix(head: Head, metrics: ChoiceMetrics) -> Matrix | None:
    """Return what a choice head confuses: truths in rows, answers in columns, in schema order.

    Rows are labels that are true somewhere, columns those that are true or answered. A cell's shade
    is its share of the row; zeros stay empty.

    Returns:
        None where nothing is confused, so that there is nothing to look at.
    """
    counts = metrics.confusion
    if not (counts.sum() - counts.trace()):
        return None
    totals = counts.sum(axis=1)
    truths, answers = _shown(totals), _shown(totals + counts.sum(axis=0))
    cells = [_cells(counts[i, answers], answers == i, int(totals[i])) for i in truths.tolist()]
    rows, columns = ([head.labels[k] for k in shown.tolist()] for shown in (truths, answers))
    return Matrix(rows, columns, cells, corner="truth \\ answer")


def _shown(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """Return the labels that occur, in schema order; the rarest of very many are left out."""
    order = np.argsort(-counts, kind="stable")
    return np.sort(order[: min(_MAX_LABELS, np.count_nonzero(counts))])


def _cells(counts: npt.NDArray[np.int64], right: Bools, total: int) -> Sequence[Cell]:
    shades = np.where(counts > 0, np.maximum(counts / max(total, 1), _FAINTEST), 0.0)
    return [
        Cell(str(count) if count else "", shade, wrong=not same)
        for count, shade, same in zip(counts.tolist(), shades.tolist(), right.tolist(), strict=True)
    ]


def _score(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.4f}"
