"""Drawings of a joined report: SVG inside the page, in the page's own colours, light or dark.

Text stays text, so that it can be read aloud, searched and printed sharply. Matplotlib is used
without pyplot.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.figures import check_matplotlib, plain_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "SERIES",
    "Interval",
    "Point",
    "draw_heads",
    "draw_histograms",
    "draw_pareto",
    "draw_runs",
]

SERIES: Final = 8
"""Colours in ``page_template``, ``--series-0`` on; markers tell further lines apart."""
_INK, _LINE = "#000101", "#000102"
# Matplotlib wants colours; the page's take their places in the SVG.
_PLACEHOLDERS: Final = {_INK: "var(--ink)", _LINE: "var(--line)"} | {
    f"#0001{16 + place:02x}": f"var(--series-{place})" for place in range(SERIES)
}
_MARKERS: Final = "osD^vPX*"
_SIZE: Final = (4.4, 3.4)
"""Inches; small, so that letters are large enough where a telephone shrinks the drawing."""
_POINTS: Final = 9.0
_DRAWN_PER_DECADE: Final = 20
"""Bins in a drawing; finer ones hide each other where there are several models."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A number and between which it surely is."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Point:
    """A model in the Pareto picture."""

    name: str
    latency_ms: float
    accuracy: Interval
    engine_mb: float | None
    best: bool
    """Whether no other model is both faster and more accurate."""


def draw_pareto(points: Sequence[Point], *, latency: str, accuracy: str) -> str:
    """Return accuracy over latency; the area of a mark grows with the engine's size.

    Args:
        points: The models, each in its own colour.
        latency: What the horizontal axis is.
        accuracy: What the vertical axis is.
    """
    figure, axes = _canvas(_tall(len(points) + 1))
    front = sorted((p for p in points if p.best), key=lambda p: p.latency_ms)
    axes.step(
        [p.latency_ms for p in front],
        [p.accuracy.value for p in front],
        where="post",
        color=_INK,
        linewidth=0.8,
        linestyle="--",
        label="not beaten by any",
    )
    for place, point in enumerate(points):
        found = point.accuracy
        axes.errorbar(
            [point.latency_ms],
            [found.value],
            yerr=[[max(0.0, found.value - found.low)], [max(0.0, found.high - found.value)]],
            color=_colour(place),
            marker=_marker(place),
            markersize=5 + 2 * np.sqrt(point.engine_mb or 0.0),
            capsize=2,
            elinewidth=0.8,
            linestyle="none",
            label=_legend(point),
        )
    axes.set(xscale="log", xlabel=f"{latency}, ms (log scale)")
    _title(axes, accuracy)
    plain_log(axes, [point.latency_ms for point in points])
    return _svg(figure, axes)


def _legend(point: Point) -> str:
    size = "" if point.engine_mb is None else f", {point.engine_mb:.3g} MB"
    return f"{_named(point.name)}{size}"


def _named(model: str) -> str:
    """Return a name for a legend, which leaves out what begins with an underscore."""
    return f" {model}" if model.startswith("_") else model


def draw_heads(heads: Mapping[str, Mapping[str, Interval]]) -> str:
    """Return the accuracy of every head, a row per head, a colour per model.

    Args:
        heads: Model to head to its accuracy.
    """
    names = list(dict.fromkeys(name for found in heads.values() for name in found))
    figure, axes = _canvas((_SIZE[0], 1.5 + 0.1 * len(names) * max(2.5, len(heads))))
    step = 0.7 / max(1, len(heads))
    for place, (model, found) in enumerate(heads.items()):
        rows = [names.index(name) + (place - (len(heads) - 1) / 2) * step for name in found]
        values = np.array([[each.value, each.low, each.high] for each in found.values()])
        spans = np.maximum([values[:, 0] - values[:, 1], values[:, 2] - values[:, 0]], 0)
        axes.errorbar(
            values[:, 0],
            rows,
            xerr=spans,
            color=_colour(place),
            marker=_marker(place),
            markersize=4,
            elinewidth=0.8,
            linestyle="none",
            label=_named(model),
        )
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="share of right answers, 95 % interval", ylim=(len(names) - 0.4, -0.6))
    axes.set_xlim(right=1.002)
    return _svg(figure, axes)


def draw_histograms(histograms: Mapping[str, Mapping[str, Any]], *, of: str) -> str:
    """Return how many queries took how long, a line per model.

    Args:
        histograms: Model to what ``Latency.histogram`` returned.
        of: What was timed.
    """
    figure, axes = _canvas(_tall(len(histograms)))
    for place, (model, found) in enumerate(histograms.items()):
        counts, edges = _coarser(found)
        share = counts / max(1.0, counts.sum())
        axes.stairs(share, edges, color=_colour(place), label=_named(model), linewidth=1.2)
    axes.set(xscale="log", xlabel=f"{of}, ms (log scale)")
    _title(axes, "share of queries")
    sides = [edge for found in histograms.values() for edge in _coarser(found)[1][[0, -1]].tolist()]
    plain_log(axes, sides)
    return _svg(figure, axes)


def draw_runs(runs: Mapping[str, Mapping[str, Sequence[float]]], *, of: str) -> str:
    """Return medians over the course of each run, and a faint line for the slowest.

    Args:
        runs: Model to what ``Latency.over_time_ms`` returned.
        of: What was timed.
    """
    figure, axes = _canvas(_tall(len(runs)))
    for place, (model, found) in enumerate(runs.items()):
        for kind, width, style in (("p50", 1.4, "-"), ("max", 0.7, ":")):
            values = found[kind]
            shares = (np.arange(len(values)) + 0.5) / max(1, len(values))
            axes.plot(
                shares * 100,
                values,
                style,
                color=_colour(place),
                linewidth=width,
                label=_named(model) if kind == "p50" else None,
            )
    axes.plot([], [], ":", color=_INK, linewidth=0.7, label="slowest of each part")
    axes.set(yscale="log", xlabel="course of the run, %")
    _title(axes, f"{of}, ms (log scale)")
    plain_log(axes, [v for found in runs.values() for v in found["p50"]], axis="y")
    return _svg(figure, axes)


def _coarser(found: Mapping[str, Any]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return counts and edges, ms, of bins that several of the result's make up."""
    counts = np.asarray(found["counts"], np.float64)
    together = max(1, found["per_decade"] // _DRAWN_PER_DECADE)
    places = (found["first"] + np.arange(len(counts))) // together
    edges = np.arange(places[0], places[-1] + 2) * (together / found["per_decade"])
    return np.bincount(places - places[0], counts).astype(np.float64), np.power(10.0, edges)


def _title(axes: Axes, text: str) -> None:
    """Say what the vertical axis is above it, where there is room to read it."""
    axes.set_title(text, loc="left", fontsize=_POINTS, color=_INK)


def _colour(place: int) -> str:
    return f"#0001{16 + place % SERIES:02x}"


def _marker(place: int) -> str:
    """Return a marker that no other model of the same colour has, as far as there are markers."""
    return _MARKERS[(place + place // SERIES) % len(_MARKERS)]


def _tall(named: int) -> tuple[float, float]:
    """Return a size that leaves the drawing its height when a long legend stands above it."""
    return _SIZE[0], _SIZE[1] + 0.18 * max(0, (named + 1) // 2 - 3)


def _canvas(size: tuple[float, float]) -> tuple[Figure, Axes]:
    check_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    axes.grid(color=_LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK, labelsize=_POINTS - 0.5)
    for spine in axes.spines.values():
        spine.set_color(_LINE)
    for side in (axes.xaxis, axes.yaxis):
        side.label.set(color=_INK, fontsize=_POINTS)
    return figure, axes


def _svg(figure: Figure, axes: Axes) -> str:
    """Return the drawing as an SVG element, its legend above it."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=2,
        fontsize=_POINTS - 0.5,
        labelcolor=_INK,
        frameon=False,
        handlelength=1.4,
        columnspacing=1.2,
        markerscale=0.8,
    )
    from matplotlib import rc_context
    from matplotlib.text import Text

    for label in figure.findobj(Text):
        if isinstance(label, Text):
            label.set_parse_math(False)  # a name may hold dollars
    text = io.StringIO()
    # Text as text, and no date: the same results give the same page.
    # Characters that no font of this machine has are no matter: the reader's browser draws them.
    with (
        rc_context({"svg.fonttype": "none", "svg.hashsalt": "headlight"}),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(text, format="svg", metadata=nothing)
    return _inline(text.getvalue())


def _inline(text: str) -> str:
    svg = text[text.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    for placeholder, colour in _PLACEHOLDERS.items():
        svg = svg.replace(placeholder, colour)
    # Rules in a drawing would hold for the whole page.
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    # The page's font; matplotlib measured with its own, which is wider.
    svg = re.sub(r"font-family: [^;\"]+", "font-family: inherit", svg)
    # Several drawings share a page, but ids must not.
    name = sha256(svg.encode("utf-8", "replace")).hexdigest()[:8]
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    # The page sets the size; the proportions stay in viewBox.
    head, bracket, body = svg.partition(">")
    return re.sub(r' (width|height)="[^"]*"', "", head) + bracket + body.strip()
