"""The picture of a search: accuracy against latency, the budget's lines, and the Pareto front."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Final

from benchmarks.budget import Limit

from .measuring import LATENCY
from .ranking import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_search", "pareto_front"]

_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
_SHADE: Final[dict[str, Any]] = {"color": "tab:red", "alpha": 0.08, "linewidth": 0}
Point = tuple[float, float]
"""Latency in ms, exact share."""


def pareto_front(points: Iterable[Point]) -> list[Point]:
    """Return the points that no other beats in both, fastest first.

    Beaten is a point where another is at least as fast and as accurate, and better in one.
    """
    front: list[Point] = []
    for latency, exact in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if not front or exact > front[-1][1]:
            front.append((latency, exact))
    return front


def draw_search(
    records: Sequence[Record],
    limits: Sequence[Limit],
    reference_exact: float,
    best: Record | None,
    name: str = "best",
) -> bytes:
    """Return a PNG.

    Args:
        records: Of all candidates.
        limits: The budget; those on latency and on exact answers are drawn.
        reference_exact: Of the checkpoint that was given.
        best: To be marked.
        name: What to call it.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.5), layout="constrained")
    axes = figure.subplots()
    variants = list(dict.fromkeys(record.candidate.variant for record in records))
    for place, variant in enumerate(variants):
        own = [record for record in records if record.candidate.variant == variant]
        _draw_variant(axes, own, variant, _MARKERS[place % len(_MARKERS)], f"C{place}")
    _draw_fronts(axes, records)
    if best is not None and (point := _point(best)):
        axes.plot(*point, "*", markersize=20, color="gold", markeredgecolor="black", label=name)
    axes.plot([], [], "o", markerfacecolor="none", color="black", label="after a short training")
    axes.plot([], [], "|", color="black", label="not trained")
    axes.axhline(reference_exact, color="grey", linewidth=0.8, label="the checkpoint in torch")
    axes.set(xscale="log", xlabel="latency of the engine call, ms", ylabel="exact on validation")
    _draw_limits(axes, _slowest(records, limits), _floor(limits, reference_exact))
    for which in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        which(lambda value, _: f"{value:g}")
    axes.tick_params(axis="x", which="minor", labelsize="small")
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()


def _draw_fronts(axes: Axes, records: Sequence[Record]) -> None:
    full = [point for record in records if record.confirmed and (point := _point(record))]
    short = [point for record in records if record.accuracy and (point := _short_point(record))]
    for points, style, label in (
        (short, ":", "Pareto front of short trainings"),
        (full, "-", "Pareto front of full trainings"),
    ):
        if front := pareto_front(points):
            axes.step(*_columns(front), style, where="post", color="black", label=label)


def _draw_variant(
    axes: Axes, records: Sequence[Record], name: str, marker: str, colour: str
) -> None:
    full = [point for record in records if record.confirmed and (point := _point(record))]
    short = [point for record in records if record.accuracy and (point := _short_point(record))]
    axes.plot([], [], marker, color=colour, label=name)
    axes.plot(*_columns(short), marker, markerfacecolor="none", color=colour)
    axes.plot(*_columns(full), marker, color=colour)
    untrained = [r.latency_ms for r in records if r.latency_ms and not r.accuracy]
    # At the lower edge, whatever the accuracies are: they have none.
    axes.plot(
        untrained, [0.0] * len(untrained), "|", color=colour, transform=axes.get_xaxis_transform()
    )


def _slowest(records: Sequence[Record], limits: Sequence[Limit]) -> float:
    """Return the latency in ms that a limit on it, or on the speedup, allows."""
    allowed = [limit.max for limit in limits if limit.metric == LATENCY and limit.max]
    for limit in limits:
        if limit.metric == "speedup.engine" and limit.min:
            # All were timed by turns with the same reference.
            allowed += [
                record.latency_ms * ratio / limit.min
                for record in records[:1]
                if record.latency_ms and (ratio := record.value("speedup.engine"))
            ]
    return min(allowed, default=inf)


def _floor(limits: Sequence[Limit], reference_exact: float) -> float:
    """Return the exact share that a limit on it, or on what is lost, asks for; 0 for none."""
    asked = [limit.min for limit in limits if limit.metric == "accuracy.exact" and limit.min]
    asked += [
        reference_exact - limit.max
        for limit in limits
        if limit.metric == "versus.exact_drop" and limit.max is not None
    ]
    return max(asked, default=0.0)


def _draw_limits(axes: Axes, slowest: float, floor: float) -> None:
    """Shade what the budget forbids, within what the points span."""
    # Both lines are to be seen, wherever the points lie.
    left, right = axes.get_xlim()
    low, high = axes.get_ylim()
    right = max(right, slowest * 1.2) if slowest < inf else right
    left, low = min(left, slowest * 0.8), min(low, floor - 0.01) if floor else low
    axes.set(xlim=(left, right), ylim=(low, min(1.005, max(high, floor + 0.005))))
    if slowest < inf:
        axes.axvspan(slowest, right, label="outside the budget", **_SHADE)
        axes.axvline(slowest, color="tab:red", linewidth=1)
    if floor:
        axes.axhspan(low, floor, **_SHADE)
        axes.axhline(floor, color="tab:red", linewidth=1)


def _columns(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [point[0] for point in points], [point[1] for point in points]


def _point(record: Record) -> Point | None:
    """Where a confirmed candidate stands."""
    latency, exact = record.latency_ms, record.value("accuracy.exact")
    return None if latency is None or exact is None else (latency, exact)


def _short_point(record: Record) -> Point | None:
    """Where a candidate stood after screening and its short training."""
    known = {item.metric: item.value for item in (*record.speed, *record.accuracy)}
    latency, exact = known.get(LATENCY), known.get("accuracy.exact")
    return None if latency is None or exact is None else (latency, exact)
