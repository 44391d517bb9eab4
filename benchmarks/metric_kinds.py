"""Every metric that a budget may limit: what it is, in which forms it is measured, what it can be.

The one list of them. Limits are checked against it before anything is measured, reports take their
words from it, and a test holds it against what the commands really measure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from math import inf
from typing import Final

from .intervals import PERCENTILES

__all__ = ["METRICS", "PLAIN", "SHARE", "TIMES", "MetricKind", "close_to", "kind_of"]

SHARE, TIMES, PLAIN = "share", "x", ""
"""Units that are not written behind a number as they are."""
_STREAMS: Final = ("single-stream", "multi-stream", "server", "camera")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricKind:
    """What there is to know of a metric before it is measured."""

    words: str
    """What it is; of the metrics in the table, ``{}`` stands for the name in the metric's."""
    unit: str
    stats: Sequence[str] = ("mean",)
    scenarios: Sequence[str] = ()
    """In which it may be measured; none: outside all scenarios."""
    low: float = 0.0
    """The least that it can be."""
    high: float = inf
    """The most that it can be."""
    in_budgets: bool = True
    """False: ``benchmarks.compare`` alone measures and limits it, by its options."""


def _share(words: str, scenarios: Sequence[str] = ()) -> MetricKind:
    return MetricKind(words=words, unit=SHARE, scenarios=scenarios, high=1.0)


def _score(words: str) -> MetricKind:
    return MetricKind(words=words, unit=PLAIN, high=1.0)


def _latency(words: str, *scenarios: str) -> MetricKind:
    return MetricKind(words=words, unit="ms", stats=(*PERCENTILES,), scenarios=scenarios)


def _speedup(of: str) -> MetricKind:
    words = f"speed against the reference ({of})"
    return MetricKind(words=words, unit=TIMES, stats=("p50",), scenarios=("interleaved",))


def _value(words: str, unit: str) -> MetricKind:
    return MetricKind(words=words, unit=unit, stats=("value",))


METRICS: Final[Mapping[str, MetricKind]] = {
    "accuracy.exact": _share("answers that are right in every part"),
    "accuracy.reading.*": _share("right texts ({})"),
    "accuracy.head.*.macro_f1": _score("macro F1 of head {}"),
    "accuracy.head.*.micro_f1": _score("micro F1 of head {}"),
    "accuracy.head.*.map": _score("mean average precision of head {}"),
    "accuracy.head.*": _share("right answers of head {}"),
    "accuracy.recall_at_precision": _share("crops that are accepted and read right"),
    "accuracy.precision_of_accepted": _share("accepted answers that are right"),
    "accuracy.calibration_error": _share("error of the confidences"),
    "versus.flips": _share("answers that differ from those of the reference"),
    "versus.exact_drop": replace(_share("right answers lost against the reference"), low=-1.0),
    "latency.engine_ms": _latency("time of the engine call", "single-stream"),
    "latency.read_ms": _latency("time to read a crop", *_STREAMS),
    "latency.queue_ms": _latency("time that a crop waits", "server", "camera"),
    "latency.cold_start_ms": _latency(
        "time from starting the process to its first answer", "cold-start"
    ),
    "latency.picture_ms": _latency("time to decode a picture file", "single-stream"),
    "latency.overhead": MetricKind(
        words="what reading adds to the engine call",
        unit=SHARE,
        stats=("p50",),
        scenarios=("interleaved",),
        low=-1.0,
    ),
    "throughput.samples_per_s": MetricKind(
        words="crops per second", unit="/s", scenarios=("offline", "server")
    ),
    "frames.dropped": _share("camera frames dropped", ("camera",)),
    "frames.late": _share("camera frames answered too late", ("camera",)),
    "speedup.engine": _speedup("engine"),
    "speedup.read": replace(_speedup("read"), in_budgets=False),
    "size.engine_mb": _value("size of the engine file", "MB"),
    "size.artifact_mb": _value("size of the whole artifact", "MB"),
    "size.pss_mb": _value("memory of a running reader", "MB"),
    "size.peak_rss_mb": _value("most memory that a reader ever held", "MB"),
    "size.gpu_mb": _value("memory of the GPU", "MB"),
    "energy.engine_mj": MetricKind(words="energy of a crop (engine)", unit="mJ"),
    "energy.read_mj": MetricKind(words="energy of a crop (read)", unit="mJ"),
    "energy.offline_mj": MetricKind(words="energy of a crop (offline)", unit="mJ"),
    "energy.idle_w": _value("power of the idle device", "W"),
}
"""Metric, with ``*`` for the name of a head or reading, to what it is; the first that fits."""


def kind_of(metric: str) -> MetricKind | None:
    """Return what a metric is, in words that name its head or reading; None if nothing is it."""
    for pattern, kind in METRICS.items():
        parts = [re.escape(part) for part in pattern.split("*")]
        if found := re.fullmatch("(.+)".join(parts), metric):
            return replace(kind, words=kind.words.format(*found.groups()))
    return None


def close_to(metric: str, known: Sequence[str] = (*METRICS,)) -> str:
    """Return the known metrics most like one that is not: to end a "did you mean" with."""
    close = get_close_matches(metric, known, n=3, cutoff=0.5)
    family = metric.partition(".")[0]
    close = close or [name for name in known if name.partition(".")[0] == family] or sorted(known)
    return " or ".join(name.replace("*", "NAME") for name in close[:3])
