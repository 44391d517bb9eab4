"""A joined report as JSON, for machines; docs/report.schema.json is its schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from runtime.staging import file_digest

from .charts import Interval
from .facts import disturbances, exact, head_intervals, pareto, percentile_ms, samples_per_s
from .joining import Joined, Model
from .words import all_judged, summarise

__all__ = ["REPORT_VERSION", "document"]

REPORT_VERSION: Final = 1
_TIMED: Final = ("engine", "read", "multi_stream", "server", "camera", "cold_start")
_STATS: Final = ("p50", "p90", "p99")
_SIZES: Final = ("engine_mb", "artifact_mb")


def document(title: str, joined: Joined) -> Mapping[str, Any]:
    """Return the report as plain JSON values."""
    summary = summarise(joined)
    return {
        "schema": REPORT_VERSION,
        "title": title,
        "verdict": {
            "outcome": summary.outcome,
            "title": summary.title,
            "limits": [
                {
                    "model": judged.model,
                    "result": joined.results.index(judged.result),
                    "sentence": judged.sentence,
                    **judged.verdict,
                }
                for judged in all_judged(joined)
            ],
        },
        "results": [
            {
                "command": result.command,
                "title": result.title,
                "path": str(result.path),
                "sha256": file_digest(result.path),
                "device": device.name if (device := joined.device_of(result)) else None,
            }
            for result in joined.results
        ],
        "devices": [
            {
                "name": device.name,
                "facts": device.facts,
                "environments": [result.environment for result in device.results],
            }
            for device in joined.devices
        ],
        "data": [{"name": data.name, "origin": data.origin} for data in joined.data],
        "models": [_model(model, joined) for model in joined.models],
        "pareto": _pareto(joined),
    }


def _model(model: Model, joined: Joined) -> Mapping[str, Any]:
    return {
        "name": model.name,
        "id": model.id,
        "about": model.about,
        "engine_mb": model.engine_mb,
        "accuracy": [
            _accuracy(model, data.name) for data in joined.data if data.name in model.accuracy
        ],
        "latency": [_latency(device, entry) for device, entry in model.latency.items()],
    }


def _accuracy(model: Model, data: str) -> Mapping[str, Any]:
    entry = model.accuracy[data]
    versus = entry.get("versus_first")
    return {
        "data": data,
        "samples": entry["metrics"]["samples"],
        "exact": _interval(exact(model, data)),
        "heads": {name: _interval(each) for name, each in head_intervals(model, data).items()},
        "recall_at_precision": entry.get("recall_at_precision"),
        "calibration_error": entry["reliability"]["expected_calibration_error"],
        "flips": {k: v for k, v in versus["flips"].items() if k != "where"} if versus else None,
        "drop": versus["exact"] if versus else None,
    }


def _interval(interval: Interval | None) -> Mapping[str, float] | None:
    return None if interval is None else asdict(interval)


def _latency(device: str, entry: Mapping[str, Any]) -> Mapping[str, Any]:
    rate = samples_per_s(entry)
    return {
        "device": device,
        "percentiles_ms": {
            of: {stat: percentile_ms(entry, of, stat) for stat in _STATS}
            for of in _TIMED
            if entry.get(of)
        },
        "throughput": {"samples_per_s": rate[0], "batch": rate[1]} if rate else None,
        "disturbed": disturbances(entry),
        **{name: entry.get(name) for name in _SIZES},
    }


def _pareto(joined: Joined) -> Sequence[Mapping[str, Any]]:
    return [
        {
            "data": data.name,
            "device": device.name,
            "models": [
                {
                    "name": point.name,
                    "read_p50_ms": point.latency_ms,
                    "exact": asdict(point.accuracy),
                    "engine_mb": point.engine_mb,
                    "best": point.best,
                }
                for point in points
            ],
        }
        for data in joined.data
        for device in joined.devices
        if (points := pareto(joined, data.name, device.name))
    ]
