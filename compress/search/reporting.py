"""What a search leaves: the best artifact, its checkpoint, the table of all trials, the picture."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.budget import Limit, Outcome
from benchmarks.environment import environment
from benchmarks.report import Report, Rows
from runtime.staging import new_folder
from train.lineage import plain

from .chain import Chain
from .explaining import explain
from .measuring import LATENCY, Reference, facts_to_object, to_facts
from .picture import draw_search
from .ranking import Confirmed, Record, best_of

__all__ = ["Found", "write_result"]

BEST: Final = "best"
NEAREST: Final = "nearest"
CHECKPOINT: Final = "checkpoint"
PICTURE: Final = "pareto.png"


@dataclass(frozen=True, slots=True)
class Found:
    """What came of a search."""

    best: Record | None
    """The best fully trained candidate; None where none came so far."""
    outcome: Outcome
    lines: Sequence[str]
    """What to tell beside the tables."""
    report: Report

    @property
    def folder(self) -> str:
        """What the artifact's folder is called in the output."""
        return NEAREST if self.outcome is Outcome.FAIL else BEST

    @property
    def exit_code(self) -> int:
        """0 for a candidate that keeps the budget, 3 where that is not proven, else 1."""
        return {Outcome.PASS: 0, Outcome.FAIL: 1, Outcome.INCONCLUSIVE: 3}[self.outcome]


def conclude(
    chain: Chain, reference: Reference, records: Sequence[Record], limits: Sequence[Limit]
) -> Found:
    """Choose the best candidate and put together what is to be told."""
    config = chain.config
    best = best_of(records, limits, config.prefer)
    confirmed = best.confirmed if best else None
    outcome = confirmed.outcome if confirmed else Outcome.FAIL
    if best is None or confirmed is None or outcome is Outcome.FAIL:
        lines = ["no candidate keeps the budget", *explain(records, limits, config.prefer)]
        lines += [f"{r.candidate.name}: {r.failure}" for r in records if r.accuracy and r.failure]
    else:
        lines = [f"best: {best.candidate.name}", *_not_proven(confirmed)]
    exact = reference.assessment.metrics.exact
    report = Report(
        title=f"Search from {config.checkpoint}",
        tables={f"Trained fully (the checkpoint has {exact.value:.4f})": _full(records, best)},
        details={"All candidates": _all(records)},
        data={
            "command": "compress.search",
            "config": plain(config),
            "environment": environment(),
            "checkpoint": chain.source.digest,
            "reference": {"exact": exact.value},
            "outcome": str(outcome),
            "best": best.candidate.name if best else None,
            "told": lines,
            "candidates": [_to_object(record) for record in records],
        },
        verdicts={r.candidate.name: r.confirmed.verdicts for r in records if r.confirmed},
    )
    return Found(best, outcome, lines, report)


def write_result(
    chain: Chain,
    reference: Reference,
    records: Sequence[Record],
    limits: Sequence[Limit],
    found: Found,
) -> None:
    """Write the output folder."""
    config = chain.config
    exact = reference.assessment.metrics.exact.value
    with new_folder(config.output, overwrite=config.overwrite) as folder:
        picture = draw_search(records, limits, exact, found.best, found.folder)
        (folder / PICTURE).write_bytes(picture)
        found.report.write(folder, [PICTURE])
        if found.best is not None:
            shutil.copytree(chain.artifact(found.best.candidate), folder / found.folder)
            shutil.copytree(_checkpoint(chain, found.best), folder / CHECKPOINT)


def _checkpoint(chain: Chain, best: Record) -> Path:
    network = best.candidate.network
    quantised = best.candidate.precision == "int8"
    return chain.quantised(network) if quantised else chain.checkpoint(network)


def _not_proven(confirmed: Confirmed) -> list[str]:
    return [
        f"not proven: {verdict.limit}: {verdict.reason}"
        for verdict in confirmed.verdicts
        if verdict.outcome is Outcome.INCONCLUSIVE
    ]


def _full(records: Sequence[Record], best: Record | None) -> Rows:
    confirmed = [record for record in records if record.confirmed]
    confirmed.sort(key=lambda record: record is not best)
    return [_cells(record) for record in confirmed]


def _cells(record: Record) -> Mapping[str, str]:
    assert record.confirmed is not None  # the caller's choice
    return {
        "candidate": record.candidate.name,
        "exact": _number(record.value("accuracy.exact")),
        "lost": _number(record.value("versus.exact_drop")),
        "ms, by turns": _number(record.latency_ms),
        "speedup": _number(record.value("speedup.engine")),
        "engine, MB": _number(record.value("size.engine_mb")),
        "budget": str(record.confirmed.outcome).upper(),
    }


def _all(records: Sequence[Record]) -> Rows:
    rows = []
    for record in records:
        short = next((f.value for f in record.accuracy if f.metric == "accuracy.exact"), None)
        screened = {fact.metric: fact.value for fact in record.speed}
        full = record.value("accuracy.exact") if record.confirmed else None
        rows.append(
            {
                "candidate": record.candidate.name,
                "screened ms": _number(screened.get(LATENCY)),
                "screened MB": _number(screened.get("size.engine_mb")),
                "exact, short training": _number(short),
                "exact, full training": _number(full),
                "budget": str(record.confirmed.outcome) if record.confirmed else "",
                "note": record.failure,
            }
        )
    return rows


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _to_object(record: Record) -> Mapping[str, Any]:
    confirmed = record.confirmed
    return {
        "name": record.candidate.name,
        **record.candidate.params(),
        "latency_ms": record.latency_ms,
        "screened": facts_to_object(record.speed),
        "short_training": facts_to_object(record.accuracy),
        "full_training": facts_to_object(to_facts(confirmed.measured)) if confirmed else None,
        "note": record.failure,
    }
