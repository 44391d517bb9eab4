"""When to trust an answer: temperatures and thresholds, fitted on validation data only.

How a threshold is placed. Answers are sorted by confidence and accepted from the top in whole
groups of equal confidence. Of all cuts whose accepted answers keep the precision floor, the one
that accepts most is taken, and the threshold is the *lowest confidence accepted*, not the middle of
the gap below it: beneath that value nothing was ever observed to be right often enough.

What a floor means on little data. 194 validation crops cannot show 99.9 % precision: a floor of
0.999 then means "no wrong one among the accepted", and if all are right the 95 % lower bound is
1 - 3/194 = 98.5 %. The threshold rests on the one most confident mistake and moves a lot from one
draw of 194 to the next. So the achieved precision on test data, with its interval, is what counts
(``recall_at_precision``), and ``resampling`` says how far threshold and recall would have moved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from runtime.arrays import Bools, Logits
from runtime.decode import Decoded, decode
from runtime.errors import ConfigError, DataError
from runtime.schema import HeadKind, Schema
from runtime.scores import ACCEPT_NOTHING, OperatingPoint

from .calibration import fit_temperatures
from .intervals import Share
from .labelled import Targets
from .metrics import evaluate

__all__ = [
    "PRECISION_FLOOR",
    "LabelRule",
    "RecallAtPrecision",
    "best_f1_threshold",
    "fit_operating_point",
    "lowest_threshold",
    "recall_at_precision",
    "unfittable",
]

PRECISION_FLOOR: Final = 0.999
_LABEL_PRECISION: Final = 0.95
_MIN_POSITIVES: Final = 5
"""Fewer true or false samples than this say nothing about a label's threshold; it stays at 0.5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRule:
    """What the thresholds of labels heads are chosen for.

    Raises:
        ConfigError: an unknown aim, a precision outside (0, 1], or one without being the aim.
    """

    by: Literal["f1", "precision"] = "f1"
    """``f1``: the best F1 of each label. ``precision``: the most of each label's samples found
    while at least ``precision`` of those called are right."""
    precision: float | None = None
    """Floor of every label by itself, in (0, 1], for ``by="precision"`` alone; 0.95 if None."""

    def __post_init__(self) -> None:
        if self.by not in ("f1", "precision"):
            raise ConfigError(
                f"labels' thresholds are chosen by 'f1' or 'precision', got {self.by!r}"
            )
        if self.precision is None:
            return
        if self.by != "precision":
            raise ConfigError("a precision of labels needs thresholds chosen by 'precision'")
        if not 0 < self.precision <= 1:
            raise ConfigError(f"precision of labels must be in (0, 1], got {self.precision}")

    def threshold(self, probability: npt.NDArray[np.float64], truth: Bools) -> float:
        """Return one label's threshold.

        Args:
            probability: (N,) in [0, 1].
            truth: (N,) whether the label is true.

        Returns:
            0.5 with fewer than 5 true or 5 false samples; ``ACCEPT_NOTHING``, so that the label is
            never called, where no threshold keeps the precision.
        """
        positives = int(truth.sum())
        if min(positives, len(truth) - positives) < _MIN_POSITIVES:
            return 0.5
        if self.by == "f1":
            return best_f1_threshold(probability, truth)
        floor = _LABEL_PRECISION if self.precision is None else self.precision
        return lowest_threshold(probability, truth, floor)


def fit_operating_point(
    schema: Schema,
    logits: Logits,
    targets: Targets,
    *,
    precision_floor: float = PRECISION_FLOOR,
    labels: LabelRule = LabelRule(),
    fitted_on: str | None = None,
) -> OperatingPoint:
    """Fit one engine's temperatures and thresholds on validation data.

    In this order, because each step changes the confidences of the next: a temperature per head;
    per label of a labels head the threshold that ``labels`` asks for; per choice head the lowest
    threshold that keeps the floor; the same for the whole answer. Heads without a validation label
    get the temperature that all heads have together, and threshold 0 or 0.5. Where samples label
    some of the heads only, never all, no whole answer is accepted; the heads' thresholds stand.

    Args:
        schema: Heads and readings.
        logits: Head name to (N, K), of the very engine that will be used.
        targets: N truths.
        precision_floor: Least share of right ones among the accepted, in (0, 1].
        labels: What the thresholds of labels heads are chosen for.
        fitted_on: What to write down as the origin: file, number of samples, digest.

    Raises:
        ConfigError: the floor is outside (0, 1].
        DataError: no sample labels the reading, so that nothing could ever be accepted.
        EngineError: logits are NaN or infinite.
    """
    if not 0 < precision_floor <= 1:
        raise ConfigError(f"precision floor must be in (0, 1], got {precision_floor}")
    unfittable(schema, targets)
    truths: dict[str, npt.NDArray[np.integer]] = {**targets.choices, **targets.labels}
    point = OperatingPoint(
        temperatures=fit_temperatures(schema.heads, logits, truths),
        precision_floor=precision_floor,
        fitted_on=fitted_on,
    )
    decoded = decode(schema, logits, point)
    point = replace(
        point,
        label_thresholds=_label_thresholds(schema, decoded, targets, labels),
        choice_thresholds=_choice_thresholds(decoded, targets, precision_floor),
    )
    decoded = decode(schema, logits, point)
    metrics = evaluate(schema, decoded, targets)
    known = metrics.answer_given
    threshold = lowest_threshold(
        decoded.confidence[known], metrics.answer_right[known], precision_floor
    )
    return replace(point, answer_threshold=threshold)


def unfittable(schema: Schema, targets: Targets) -> Sequence[str]:
    """Return what cannot be fitted on these truths, a sentence each; nothing is the rule.

    Raises:
        DataError: no sample labels the readings, so that nothing could ever be accepted.
    """
    truths: dict[str, npt.NDArray[np.integer]] = {**targets.choices, **targets.labels}
    given = {name: truth.reshape(len(truth), -1) >= 0 for name, truth in truths.items()}
    notes = []
    silent = [name for name, known in given.items() if not known.any()]
    if silent:
        notes.append(
            f"no validation sample labels {', '.join(silent)}: it will not be known how right they "
            "are, and they get no threshold"
        )
    read = [name for reading in schema.readings for name in reading.heads]
    whole = np.all([given[name].all(axis=1) for name in read or given], axis=0)
    if not whole.any():
        if read:
            raise DataError(
                f"none of {len(whole)} validation samples labels the answer of schema "
                f"{schema.name!r}, so no threshold can be fitted; label the whole reading"
            )
        notes.append(
            "no validation sample labels all heads, so nothing is known of whole answers: none "
            "will be accepted; heads have thresholds of their own"
        )
    return notes


def lowest_threshold(
    confidence: npt.NDArray[np.float64], right: Bools, precision_floor: float
) -> float:
    """Return the lowest confidence from which the accepted keep the precision floor.

    Args:
        confidence: (N,).
        right: (N,).
        precision_floor: Least precision of ``right[confidence >= threshold]``.

    Returns:
        One of ``confidence``, or ``ACCEPT_NOTHING`` when no cut keeps the floor or N is 0.

    Raises:
        DataError: a confidence is NaN or infinite.
    """
    if not np.isfinite(confidence).all():
        raise DataError("thresholds cannot be fitted: a confidence is NaN or infinite")
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)[: len(ranked)])
    precision = np.cumsum(right[order])[ends] / (ends + 1)
    kept = ends[precision >= precision_floor]
    return float(ranked[kept[-1]]) if len(kept) else ACCEPT_NOTHING


def best_f1_threshold(probability: npt.NDArray[np.float64], truth: Bools) -> float:
    """Return the threshold with the best F1 for one label.

    It stands midway between two neighbouring probabilities; of equally good cuts the one nearest
    to 0.5 is taken.

    Args:
        probability: (N,) in [0, 1].
        truth: (N,) whether the label is true; true somewhere.
    """
    positives = int(truth.sum())
    order = np.argsort(-probability, kind="stable")
    ranked = probability[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    f1 = 2 * np.cumsum(truth[order])[ends] / (ends + 1 + positives)
    below = np.append(ranked[ends[:-1] + 1], 0.0)
    middle = (ranked[ends] + below) / 2
    # Between neighbouring floats there is no middle, and the cut must not fall on the lower one.
    cuts = np.where(middle > below, middle, ranked[ends])[f1 == f1.max()]
    return float(cuts[np.abs(cuts - 0.5).argmin()])


def _label_thresholds(
    schema: Schema, decoded: Decoded, targets: Targets, rule: LabelRule
) -> Mapping[str, tuple[float, ...]]:
    thresholds = {}
    for head in schema.heads:
        if head.kind is not HeadKind.LABELS:
            continue
        truth, probability = targets.labels[head.name], decoded.label_probability[head.name]
        thresholds[head.name] = tuple(
            rule.threshold(probability[known, k], truth[known, k] == 1)
            for k, known in enumerate((truth >= 0).T)
        )
    return thresholds


def _choice_thresholds(
    decoded: Decoded, targets: Targets, precision_floor: float
) -> Mapping[str, float]:
    thresholds = {}
    for name, truth in targets.choices.items():
        known = truth >= 0
        if known.any():
            thresholds[name] = lowest_threshold(
                decoded.choice_confidence[name][known],
                decoded.choices[name][known] == truth[known],
                precision_floor,
            )
    return thresholds


@dataclass(frozen=True, slots=True)
class RecallAtPrecision:
    """What a threshold that was fixed beforehand does on test data."""

    threshold: float
    recall: Share
    """Accepted and right, over all samples."""
    precision: Share
    """Accepted and right, over the accepted; no value when nothing was accepted."""

    @property
    def accepted(self) -> int:
        """Number of accepted samples."""
        return self.precision.total

    def to_object(self) -> Mapping[str, Any]:
        """Return the numbers for a report."""
        return {
            "threshold": self.threshold,
            "accepted": self.accepted,
            "recall": self.recall.to_object(),
            "precision": self.precision.to_object(),
        }


def recall_at_precision(
    confidence: npt.NDArray[np.float64], right: Bools, threshold: float
) -> RecallAtPrecision:
    """Judge a threshold on samples that it was not fitted on.

    Args:
        confidence: (N,).
        right: (N,).
        threshold: Fitted on validation data, never on these samples.
    """
    accepted = confidence >= threshold
    good = int((accepted & right).sum())
    return RecallAtPrecision(threshold, Share(good, len(right)), Share(good, int(accepted.sum())))
