"""All that is known of one artifact's accuracy, and of two artifacts' difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.arrays import Logits
from runtime.decode import Decoded, decode
from runtime.schema import Schema
from runtime.scores import OperatingPoint

from .budget import Measurement
from .calibration import Reliability, reliability
from .compare import Flips, Paired, flips, mcnemar
from .intervals import Share
from .labelled import Targets
from .metrics import LabelsMetrics, Metrics, describe, evaluate
from .operating_point import RecallAtPrecision, recall_at_precision

__all__ = ["Assessment", "Difference", "assess", "difference"]


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
        rows["calibration error"] = _number(self.reliability.expected_calibration_error)
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
            found.append(_of_share("accuracy.recall_at_precision", self.accepted.recall))
            found.append(_of_share("accuracy.precision_of_accepted", self.accepted.precision))
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
        """Return everything for a report."""
        return {
            "metrics": describe(self.metrics, self.schema),
            "operating": self.operating.to_object(),
            "recall_at_precision": self.accepted.to_object() if self.accepted else None,
            "reliability": self.reliability.to_object(),
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
        drop = Measurement(
            metric="versus.exact_drop",
            value=self.exact.drop,
            samples=self.exact.total,
            bounds=self.exact.bounds,
            stat="mean",
        )
        return [_of_share("versus.flips", self.flips.share), drop]

    def to_object(self) -> Mapping[str, Any]:
        """Return everything for a report; ``where`` are row numbers of the list, from 0."""
        return {
            "flips": {**self.flips.share.to_object(), "where": self.flips.where},
            "exact": self.exact.to_object(),
        }


def assess(
    schema: Schema, logits: Logits, targets: Targets, operating: OperatingPoint
) -> Assessment:
    """Decode scores and judge them.

    Args:
        schema: Heads and readings.
        logits: Head name to (N, K).
        targets: N truths.
        operating: Temperatures and thresholds that were fitted on other samples.

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
    )


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


def _of_share(metric: str, share: Share) -> Measurement:
    return Measurement(
        metric=metric, value=share.value, samples=share.total, bounds=share.bounds, stat="mean"
    )


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.4f}"
