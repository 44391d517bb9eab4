"""The numbers of a joined report, wherever the results keep them; what is not there is None."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .charts import Interval, Point
from .joining import Joined, Model

__all__ = [
    "CHANGED",
    "disturbances",
    "exact",
    "head_intervals",
    "pareto",
    "percentile_ms",
    "samples_per_s",
    "share_text",
]

CHANGED = ("lost", "gained", "wrong in both", "right in both")
"""What a changed answer did, the worst first."""


def exact(model: Model, data: str) -> Interval | None:
    """Return the share of answers that are right in every part, with its 95 % interval."""
    entry = model.accuracy.get(data)
    return None if entry is None else _interval(entry["metrics"]["exact"])


def head_intervals(model: Model, data: str) -> Mapping[str, Interval]:
    """Return the accuracy of every head whose truth is known."""
    entry = model.accuracy.get(data)
    heads = entry["metrics"]["heads"] if entry else {}
    found = {name: _interval(head["accuracy"]) for name, head in heads.items()}
    return {name: interval for name, interval in found.items() if interval is not None}


def _interval(share: Mapping[str, Any]) -> Interval | None:
    if share.get("value") is None:  # no samples
        return None
    return Interval(float(share["value"]), float(share["low"]), float(share["high"]))


def share_text(interval: Interval | None) -> str:
    """Return a share and its interval as percentages."""
    if interval is None:
        return "-"
    return f"{interval.value:.2%} ({interval.low:.1%} to {interval.high:.1%})"


def percentile_ms(entry: Mapping[str, Any], of: str, stat: str) -> float | None:
    """Return a percentile of ``engine``, ``read``, ``camera``, ...; None where it is not known."""
    found = (entry.get(of) or {}).get("percentiles_ms", {}).get(stat)
    return None if found is None else float(found)


def samples_per_s(entry: Mapping[str, Any]) -> tuple[float, int] | None:
    """Return throughput and its batch."""
    offline = entry.get("offline")
    return None if not offline else (float(offline["samples_per_s"]), int(offline["batch"]))


def disturbances(entry: Mapping[str, Any]) -> Sequence[str]:
    """Return why the timings of a model are in doubt; nothing where they are not."""
    if "disturbed" in entry:
        return [str(reason) for reason in entry["disturbed"]]
    noisy = [name for name, part in entry.items() if isinstance(part, dict) and part.get("noisy")]
    return [f"other processes disturbed: {', '.join(noisy)}"] if noisy else []


def pareto(joined: Joined, data: str, device: str) -> Sequence[Point]:
    """Return the models that were both judged on ``data`` and timed on ``device``."""
    found = []
    for model in joined.models:
        accuracy = exact(model, data)
        latency = percentile_ms(model.latency.get(device, {}), "read", "p50")
        if accuracy is not None and latency is not None:
            found.append((model, latency, accuracy))
    return [
        Point(
            model.name,
            latency,
            accuracy,
            model.engine_mb,
            best=not any(
                other <= latency
                and right.value >= accuracy.value
                and (other, right.value) != (latency, accuracy.value)
                for _, other, right in found
            ),
        )
        for model, latency, accuracy in found
    ]
