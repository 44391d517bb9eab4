"""Per-label scores of a head: precision, recall, F1 and average precision.

F1 = 2 TP / (2 TP + FP + FN). Macro F1 is the mean over labels that occur in the truth or in the
answers, micro F1 pools the counts. Average precision is the sum of precision times the step in
recall over descending distinct scores, without interpolation; mAP is its mean over labels that
occur.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from runtime.arrays import Bools

__all__ = ["LabelScores", "Values", "average_precision", "known_mean"]

Values: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LabelScores:
    """Counts per label, and what follows from them; all (K,)."""

    true_positives: npt.NDArray[np.int64]
    false_positives: npt.NDArray[np.int64]
    false_negatives: npt.NDArray[np.int64]

    @property
    def support(self) -> npt.NDArray[np.int64]:
        """How often each label is true."""
        return self.true_positives + self.false_negatives

    @property
    def precision(self) -> Values:
        """Per label; NaN for a label that was never answered."""
        return _ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> Values:
        """Per label; NaN for a label that never is true."""
        return _ratio(self.true_positives, self.support)

    @property
    def f1(self) -> Values:
        """Per label; NaN for a label that neither is true nor answered."""
        double = 2 * self.true_positives
        return _ratio(double, double + self.false_positives + self.false_negatives)

    @property
    def macro_f1(self) -> float:
        """Mean F1 over labels that are true or answered somewhere; NaN if none is."""
        return known_mean(self.f1)

    @property
    def micro_f1(self) -> float:
        """F1 of the pooled counts; NaN if nothing is true or answered."""
        pooled = [
            counts.sum(keepdims=True)
            for counts in (self.true_positives, self.false_positives, self.false_negatives)
        ]
        return float(LabelScores(*pooled).f1[0])


def average_precision(truth: Bools, score: Values) -> float:
    """Return the area under the step curve of precision over recall.

    Args:
        truth: (N,) whether the label is true.
        score: (N,) higher means more likely; equal scores are taken as one group.

    Returns:
        In [0, 1]; NaN when the label never is true.
    """
    if not truth.any():
        return nan
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    hits = np.cumsum(truth[order])
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    recall_steps = np.diff(hits[ends], prepend=0) / hits[-1]
    return float((recall_steps * hits[ends] / (ends + 1)).sum())


def known_mean(values: Values) -> float:
    """Return the mean of what is not NaN; NaN, without numpy's warning, if nothing is left."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else nan


def _ratio(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> Values:
    result = np.full(len(whole), nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result
