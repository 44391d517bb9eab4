"""All that is known of one artifact's accuracy, and of two artifacts' difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from runtime.arrays import Logits
from runtime.decode import Decoded, decode
from runtime.errors import ConfigError
from runtime.schema import HeadKind, Schema
from runtime.scores import OperatingPoint, probabilities

from .budget import Limit, Measurement
from .calibration import Reliability, reliability
from .compare import Flips, Paired, flips, mcnemar
from .intervals import Share
from .labelled import Targets
from .metric_kinds import METRICS, close_to
from .metrics import LabelsMetrics, Metrics, describe, evaluate
from .operating_point import RecallAtPrecision, recall_at_precision
from .resampling import Answers, ThresholdSpread, threshold_spread
from .risk_coverage import RiskCoverage, risk_coverage

__all__ = [
    "ACCEPTED_METRICS",
    "Assessment",
    "Difference",
    "Validated",
    "assess",
    "check_named",
    "difference",
    "drop_measurement",
]

ACCEPTED_METRICS: Final = ("accuracy.recall_at_precision", "accuracy.precision_of_accepted")
"""Those that need thresholds; of no worth on the crops that these were fitted on."""


@dataclass(frozen=True, slots=True)
class Validated:
    """What the validation samples, on which the thresholds were fitted, say about them."""

    precision: Share
    """Of the accepted validation samples. Its interval is all that they can prove: a floor of
    0.999 on 194 samples is the sample's, not the population's."""
    spread: ThresholdSpread
    """How far threshold and test results would have moved with other samples."""

    def to_object(self) -> Mapping[str, Any]:
        """Return the numbers for a report."""
        return {"precision": self.precision.to_object(), "spread": self.spread.to_object()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """One artifact on one list."""

    schema: Schema
    operating: OperatingPoint
    decoded: Decoded
    metrics: Metrics
    accepted: RecallAtPrecision | None
    """None: no threshold was ever fitted."""
    reliability: Reliability
    """Of the answers' confidence, over samples whose label gives the answer."""
    risk: RiskCoverage
    """Over the same samples."""
    truth_probability: npt.NDArray[np.float64]
    """(N,) calibrated probability of all that the label gives, jointly; 1 where it gives nothing.
    A reading counts as its positions, not as its text."""
    validated: Validated | None = None
    """None: the validation samples are not at hand."""

    @property
    def answers(self) -> Answers:
        """The samples whose label gives the answer."""
        known = self.metrics.answer_given
        return Answers(self.decoded.confidence[known], self.metrics.answer_right[known])

    def rows(self) -> Mapping[str, str]:
        """Return name to text of every headline number, with 95 % intervals."""
        metrics = self.metrics
        free = {head.name for head in self.schema.free_heads}
        rows = {"samples": str(len(metrics)), "exact": str(metrics.exact)}
        for name, reading in metrics.readings.items():
            rows[f"{name} exact"] = str(reading.exact)
        for name, head in metrics.heads.items():
            rows[f"{name} accuracy"] = str(head.accuracy)
            if name in free:
                rows[f"{name} macro F1"] = _number(head.scores.macro_f1)
            if isinstance(head, LabelsMetrics):
                rows[f"{name} micro F1"] = _number(head.scores.micro_f1)
                rows[f"{name} mAP"] = _number(head.mean_average_precision)
        if self.accepted is None:
            rows["recall@precision"] = "no threshold was fitted; pass --validation"
        else:
            floor = self.operating.precision_floor
            rows[f"recall@precision {floor or 0:g}"] = str(self.accepted.recall)
            rows["precision of accepted"] = str(self.accepted.precision)
            rows["accepted"] = str(self.accepted.accepted)
            rows["answer threshold"] = f"{self.accepted.threshold:.6g}"
        if self.validated is not None:
            low, high = self.validated.spread.recall
            rows["recall, threshold refitted"] = f"{low:.4f} to {high:.4f}"
            rows["precision on validation"] = str(self.validated.precision)
        rows["calibration error"] = _number(self.reliability.expected_calibration_error)
        rows["AURC"] = f"{self.risk.area:.6f}"
        return rows

    def measurements(self) -> list[Measurement]:
        """Return what a budget may limit."""
        metrics = self.metrics
        found = [_of_share("accuracy.exact", metrics.exact)]
        found += [
            _of_share(f"accuracy.reading.{name}", reading.exact)
            for name, reading in metrics.readings.items()
        ]
        for name, head in metrics.heads.items():
            found.append(_of_share(f"accuracy.head.{name}", head.accuracy))
            scores = {"macro_f1": head.scores.macro_f1, "micro_f1": head.scores.micro_f1}
            if isinstance(head, LabelsMetrics):
                scores["map"] = head.mean_average_precision
            found += [
                Measurement(
                    metric=f"accuracy.head.{name}.{score}",
                    value=value,
                    samples=head.accuracy.total,
                    stat="mean",
                )
                for score, value in scores.items()
            ]
        if self.accepted is not None:
            found.append(_of_share(ACCEPTED_METRICS[0], self.accepted.recall))
            found.append(_of_share(ACCEPTED_METRICS[1], self.accepted.precision))
        found.append(
            Measurement(
                metric="accuracy.calibration_error",
                value=self.reliability.expected_calibration_error,
                samples=int(self.reliability.count.sum()),
                stat="mean",
            )
        )
        return found

    def to_object(self) -> Mapping[str, Any]:
        """Return everything for a report; ``exact_wrong`` are row numbers of the list, from 0."""
        wrong = self.metrics.given & ~self.metrics.exact_right
        return {
            "exact_wrong": np.flatnonzero(wrong),
            "metrics": describe(self.metrics, self.schema),
            "operating": self.operating.to_object(),
            "recall_at_precision": self.accepted.to_object() if self.accepted else None,
            "validated": self.validated.to_object() if self.validated else None,
            "reliability": self.reliability.to_object(),
            "risk_coverage": self.risk.to_object(),
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """One artifact against the first."""

    flips: Flips
    exact: Paired

    def rows(self) -> Mapping[str, str]:
        """Return name to text of every headline number."""
        low, high = self.exact.bounds(0.975)
        return {
            "flips": str(self.flips.share),
            "drop of exact": f"{self.exact.drop:+.4f} ({low:+.4f} to {high:+.4f})",
            "lost / gained": f"{self.exact.only_first} / {self.exact.only_second}",
            "McNemar p": f"{self.exact.p_value:.3g}",
        }

    def measurements(self) -> list[Measurement]:
        """Return what a budget may limit."""
        return [_of_share("versus.flips", self.flips.share), drop_measurement(self.exact)]

    def to_object(self) -> Mapping[str, Any]:
        """Return everything for a report; ``where`` are row numbers of the list, from 0."""
        return {
            "flips": {**self.flips.share.to_object(), "where": self.flips.where},
            "exact": self.exact.to_object(),
        }


def assess(
    schema: Schema,
    logits: Logits,
    targets: Targets,
    operating: OperatingPoint,
    *,
    validation: Assessment | None = None,
) -> Assessment:
    """Decode scores and judge them.

    Args:
        schema: Heads and readings.
        logits: Head name to (N, K).
        targets: N truths.
        operating: Temperatures and thresholds that were fitted on other samples.
        validation: The assessment of those other samples with ``operating``, if they are at hand.

    Raises:
        EngineError: logits are NaN or infinite.
    """
    decoded = decode(schema, logits, operating)
    metrics = evaluate(schema, decoded, targets)
    known = metrics.answer_given
    confidence, right = decoded.confidence[known], metrics.answer_right[known]
    threshold = operating.answer_threshold
    return Assessment(
        schema=schema,
        operating=operating,
        decoded=decoded,
        metrics=metrics,
        accepted=None if threshold is None else recall_at_precision(confidence, right, threshold),
        reliability=reliability(confidence, right),
        risk=risk_coverage(confidence, right),
        truth_probability=_truth_probability(schema, logits, targets, operating),
        validated=_validated(validation, Answers(confidence, right)),
    )


def _validated(validation: Assessment | None, test: Answers) -> Validated | None:
    if validation is None or validation.accepted is None:
        return None
    if not len(test) or not len(validation.answers):
        return None
    floor = validation.operating.precision_floor
    if floor is None:
        return None
    return Validated(
        validation.accepted.precision, threshold_spread(validation.answers, test, floor)
    )


def _truth_probability(
    schema: Schema, logits: Logits, targets: Targets, operating: OperatingPoint
) -> npt.NDArray[np.float64]:
    joint = np.ones(len(next(iter(logits.values()))))
    for head in schema.heads:
        found = probabilities(head, logits[head.name], operating.temperatures.get(head.name, 1.0))
        if head.kind is HeadKind.CHOICE:
            truth = targets.choices[head.name]
            chosen = np.take_along_axis(found, np.maximum(truth, 0)[:, None], axis=1)[:, 0]
            joint *= np.where(truth >= 0, chosen, 1.0)
        else:
            present = targets.labels[head.name]
            each = np.where(present == 1, found, 1 - found)
            joint *= np.where(present >= 0, each, 1.0).prod(axis=1)
    return joint


def difference(first: Assessment, second: Assessment) -> Difference:
    """Compare two artifacts on the same samples.

    Raises:
        ConfigError: they have different heads or numbers of samples.
    """
    given = first.metrics.given
    return Difference(
        flips(first.decoded, second.decoded),
        mcnemar(first.metrics.exact_right[given], second.metrics.exact_right[given]),
    )


def check_named(limits: Sequence[Limit], schema: Schema) -> None:
    """Fail on limits of heads and readings that are not there, before anything is measured.

    Raises:
        ConfigError: naming the limit, and what there is.
    """
    known = _metrics_of(schema)
    for limit in limits:
        if limit.family == "accuracy" and limit.metric not in known:
            raise ConfigError(
                f"limit on {limit.metric!r}: the schema {schema.name!r} has nothing of this name; "
                f"did you mean {close_to(limit.metric, known)}?"
            )


def _metrics_of(schema: Schema) -> Sequence[str]:
    """Return the metrics of the family ``accuracy`` that a schema's answers may have."""
    heads = [head.name for head in schema.heads]
    named = {
        "accuracy.reading.*": [reading.name for reading in schema.readings],
        "accuracy.head.*.map": [h.name for h in schema.heads if h.kind is HeadKind.LABELS],
    }
    filled = (
        metric.replace("*", name)
        for metric in METRICS
        if metric.startswith("accuracy.")
        for name in named.get(metric, heads)
    )
    return [*dict.fromkeys(filled)]  # once each, those of no head, too


def drop_measurement(exact: Paired) -> Measurement:
    """Return what a budget may limit of the exact answers that one artifact loses to another."""
    return Measurement(
        metric="versus.exact_drop",
        value=exact.drop,
        samples=exact.total,
        bounds=exact.bounds,
        stat="mean",
    )


def _of_share(metric: str, share: Share) -> Measurement:
    return Measurement(
        metric=metric, value=share.value, samples=share.total, bounds=share.bounds, stat="mean"
    )


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.4f}"
