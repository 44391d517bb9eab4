"""The table and picture of a study: mean and spread over seeds, and the change a variant made."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import Rows, markdown_table, show_table, to_json
from runtime.staging import write_text

from .study_plan import Plan

__all__ = ["Outcome", "table", "write_report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one run reached."""

    variant: str
    seed: int
    lists: Mapping[str, Mapping[str, float]]
    """Test list to metric to value."""


def table(plan: Plan, outcomes: Sequence[Outcome]) -> Rows:
    """Return one row per variant: mean ± standard deviation over its seeds.

    In brackets the mean change against the plan's first variant over the seeds that both have:
    runs of one seed start from the same weights and see the same order.
    """
    names = [variant.name for variant in plan.variants]
    by_run = {(outcome.variant, outcome.seed): outcome.lists for outcome in outcomes}
    rows = []
    for name in names:
        seeds = sorted(seed for variant, seed in by_run if variant == name)
        if not seeds:
            continue
        row = {"variant": name, "seeds": str(len(seeds))}
        for where in plan.tests:
            for metric in plan.show:
                values = [by_run[name, seed][where].get(metric, np.nan) for seed in seeds]
                both = [seed for seed in seeds if (names[0], seed) in by_run]
                change = [
                    by_run[name, seed][where].get(metric, np.nan)
                    - by_run[names[0], seed][where].get(metric, np.nan)
                    for seed in both
                ]
                row[f"{where} {metric.removeprefix('accuracy.')}"] = _cell(
                    values, [] if name == names[0] else change
                )
        rows.append(row)
    return rows


def _cell(values: Sequence[float], change: Sequence[float]) -> str:
    spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    changed = f" ({np.mean(change):+.4f})" if change else ""
    return f"{np.mean(values):.4f}{spread}{changed}"


def write_report(
    folder: Path, plan: Plan, outcomes: Sequence[Outcome], where: Mapping[str, Any]
) -> None:
    """Write ``study.json``, ``study.md`` and ``study.png`` into ``folder`` and print the table."""
    rows = table(plan, outcomes)
    record = {"title": plan.title, "environment": where, "runs": [asdict(o) for o in outcomes]}
    write_text(folder / "study.json", to_json(record))
    (folder / "study.png").write_bytes(_draw(plan, outcomes))
    text = (
        f"# {plan.title}\n\n{markdown_table(rows)}\n"
        "Mean ± standard deviation over the seeds; in brackets the mean change against the first "
        "row, seed by seed.\n\n![study](study.png)\n"
    )
    write_text(folder / "study.md", text)
    show_table(plan.title, rows)


def _draw(plan: Plan, outcomes: Sequence[Outcome]) -> bytes:
    """One panel per list and metric, one dot per run, a bar at each variant's mean."""
    from matplotlib.figure import Figure

    names = [v.name for v in plan.variants if any(o.variant == v.name for o in outcomes)]
    panels = [(where, metric) for where in plan.tests for metric in plan.show]
    figure = Figure(figsize=(3.2 * len(panels) + 1, 1.2 + 0.35 * len(names)), layout="constrained")
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (where, metric) in zip(grid, panels, strict=True):
        for place, name in enumerate(names):
            values = [
                o.lists[where][metric]
                for o in outcomes
                if o.variant == name and metric in o.lists[where]
            ]
            axes.plot(values, [place] * len(values), "o", alpha=0.6, color="tab:blue")
            if values:
                axes.plot([np.mean(values)], [place], "|", markersize=16, color="black")
        axes.set_title(f"{where}\n{metric.removeprefix('accuracy.')}", fontsize="medium")
        axes.grid(axis="x", alpha=0.3)
    grid[0].set_yticks(range(len(names)), names)
    grid[0].invert_yaxis()
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    return stream.getvalue()
