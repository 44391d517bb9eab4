"""Curves of throughput, one panel per axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import panels, save

from .points import Point

__all__ = ["draw_scaling", "drawable_axes"]

_LABELS = {
    "batch": "samples of a call",
    "threads": "threads of a call",
    "streams": "callers in parallel",
    "cameras": "cameras",
    "size": "height and width, times the network's own",
}


def drawable_axes(points: Sequence[Point]) -> Sequence[str]:
    """Return the axes along which there are two numbers at least, in order."""
    values: dict[str, set[float]] = {}
    for point in points:
        if point.samples_per_s is not None:
            values.setdefault(point.axis, set()).add(point.value)
    return [axis for axis, places in values.items() if len(places) > 1]


def draw_scaling(path: Path, points: Sequence[Point]) -> None:
    """Draw samples per second over every axis, a line per artifact.

    Args:
        path: PNG to write.
        points: Of which there are ``drawable_axes``.
    """
    known = [point for point in points if point.samples_per_s is not None]
    names = list(dict.fromkeys(point.artifact for point in known))
    axes = drawable_axes(points)
    figure, grid = panels(len(axes))
    for axis, panel in zip(axes, grid, strict=True):
        for number, name in enumerate(names):
            own = [point for point in known if (point.axis, point.artifact) == (axis, name)]
            values, rates = [p.value for p in own], [p.samples_per_s or 0.0 for p in own]
            panel.plot(values, rates, color=f"C{number}", marker="o", markersize=4, label=name)
        values = sorted({point.value for point in known if point.axis == axis})
        panel.set(xscale="log", xlabel=_LABELS[axis], ylabel="samples/s")
        panel.set_xticks(values, [f"{value:g}" for value in values])
        panel.minorticks_off()
        panel.set_ylim(bottom=0)
        panel.set_title(f"against {axis}", loc="left")
        panel.grid(which="both", linewidth=0.3)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize="small")
    save(figure, path)
