"""Pictures of results: reliability, risk over coverage, latency, runs over time.

Matplotlib is used without pyplot, so no display and no global state is touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import numpy.typing as npt

from runtime.errors import MissingExtraError

from .calibration import Reliability
from .command import missing_extra
from .operating_point import RecallAtPrecision
from .risk_coverage import RiskCoverage

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .scenarios.open_loop import Served

__all__ = [
    "canvas",
    "check_matplotlib",
    "draw_latencies",
    "draw_reliability",
    "draw_risk_coverage",
    "draw_timeline",
    "panels",
    "plain_log",
    "save",
]

_FONTS: Final = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC")
"""Matplotlib's own font and, for what it lacks, those with Chinese characters."""


def check_matplotlib() -> None:
    """Fail early when pictures cannot be drawn.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(missing_extra("matplotlib", "bench")) from error


def draw_reliability(path: Path, found: Reliability, title: str) -> None:
    """Draw accuracy over confidence with 95 % intervals, and how many answers each bin holds.

    Args:
        path: PNG to write.
        found: The bins.
        title: Of which answers.
    """
    figure, axes = canvas((4.5, 4.5))
    filled = found.count > 0
    accuracy, (low, high) = found.accuracy[filled], found.bounds[filled].T
    bins = len(found.count)
    share = found.count / max(1, int(found.count.sum()))
    middles = (np.arange(bins) + 0.5) / bins
    axes.bar(middles, share, width=1 / bins, alpha=0.25, label="share of answers")
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle="--", label="ideal")
    axes.errorbar(
        found.confidence[filled],
        accuracy,
        # Rounding may leave a bound on the wrong side of the share by 1e-17.
        yerr=np.maximum([accuracy - low, high - accuracy], 0),
        marker="o",
        capsize=2,
        label="share right, 95 % interval",
    )
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="share")
    axes.set_title(f"{title}: calibration error {found.expected_calibration_error:.4f}")
    axes.legend(loc="best", fontsize="small")
    save(figure, path)


def draw_risk_coverage(
    path: Path, found: RiskCoverage, title: str, accepted: RecallAtPrecision | None = None
) -> None:
    """Draw the share of wrong ones among the accepted over the share accepted.

    Args:
        path: PNG to write.
        found: The curve.
        title: Of which answers.
        accepted: The operating point to mark on it.
    """
    figure, axes = canvas((4.5, 4.5))
    axes.plot(found.coverage, found.risk, drawstyle="steps-post")
    if accepted is not None and accepted.accepted:
        low, high = accepted.precision.interval()
        risk = 1 - accepted.precision.value
        axes.errorbar(
            [accepted.accepted / accepted.recall.total],
            [risk],
            yerr=np.maximum([[risk - (1 - high)], [(1 - low) - risk]], 0),
            marker="o",
            capsize=3,
            color="tab:red",
            linestyle="none",
            label="at the threshold, 95 % interval",
        )
        axes.legend(loc="upper left", fontsize="small")
    axes.set(xlim=(0, 1.02), xlabel="coverage: share accepted", ylabel="risk: share wrong of these")
    axes.set_ylim(bottom=0)
    axes.set_title(f"{title}: AURC {found.area:.5f}")
    save(figure, path)


def draw_latencies(
    path: Path, latencies_ns: Mapping[str, Mapping[str, npt.NDArray[np.int64]]]
) -> None:
    """Draw histograms of query times, a row per model on one axis of time.

    Args:
        path: PNG to write.
        latencies_ns: Model to what was timed to (N,) query times; at least one.
    """
    check_matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    times_ms = {
        name: {kind: times / 1e6 for kind, times in found.items()}
        for name, found in latencies_ns.items()
    }
    low = min(float(times.min()) for found in times_ms.values() for times in found.values())
    high = max(float(times.max()) for found in times_ms.values() for times in found.values())
    edges = np.geomspace(low, high * 1.01, 120).tolist()
    kinds = dict.fromkeys(kind for found in times_ms.values() for kind in found)
    colours = {kind: f"C{place}" for place, kind in enumerate(kinds)}
    figure = Figure(figsize=(7.0, 1.2 + 0.9 * len(times_ms)), layout="constrained")
    rows = figure.subplots(len(times_ms), sharex=True, squeeze=False)[:, 0]
    for axes, (name, found) in zip(rows, times_ms.items(), strict=True):
        for kind, times in found.items():
            share = np.full(len(times), 1 / len(times))
            axes.hist(times, bins=edges, weights=share, histtype="step", color=colours[kind])
        axes.set_title(name, loc="left", fontsize="small")
        axes.set_yticks([])
    rows[-1].set(xscale="log", xlabel="latency, ms; heights are shares of the queries")
    plain_log(rows[-1], [low, high])
    figure.legend(
        handles=[Line2D([], [], color=colour, label=kind) for kind, colour in colours.items()],
        loc="outside upper right",
        ncols=len(colours),
        fontsize="small",
    )
    save(figure, path)


def draw_timeline(path: Path, served: Served, title: str, *, limit_ms: float) -> None:
    """Draw when queries arrived and how long each took: stalls, bursts and slow growth show here.

    Args:
        path: PNG to write.
        served: What became of the queries; those that nobody answered are marked at the limit.
        title: Of which run.
        limit_ms: Deadline or bound, drawn as a line.
    """
    figure, axes = canvas((7.0, 3.5))
    answered, arrivals_s = served.answered, served.arrivals_ns / 1e9
    latency_ms = served.latency_ns / 1e6
    axes.plot(
        arrivals_s[answered], latency_ms[answered], ".", markersize=3, label="answered", zorder=2
    )
    axes.axhline(limit_ms, color="grey", linewidth=0.8, linestyle="--", label="limit")
    if not answered.all():
        lost = arrivals_s[~answered]
        axes.plot(lost, np.full(len(lost), limit_ms), "x", color="tab:red", label="never answered")
    axes.set(yscale="log", xlabel="intended arrival, s", ylabel="latency, ms")
    plain_log(axes, [*latency_ms[answered].tolist(), limit_ms], axis="y")
    axes.set_title(title, loc="left")
    # Not within the axes: wherever it stood there, it would hide queries.
    figure.legend(loc="outside upper right", ncols=3, fontsize="small")
    save(figure, path)


def canvas(size: tuple[float, float]) -> tuple[Figure, Axes]:
    """Return an empty figure of ``size`` inches, and its axes.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    check_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots()


def panels(count: int) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure with ``count`` panels, three side by side, and the axes of each.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    check_matplotlib()
    from matplotlib.figure import Figure

    columns = min(3, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(4.2 * columns, 3.4 * rows + 0.6), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, place + 1) for place in range(count)]


def plain_log(axes: Axes, values: Sequence[float], axis: Literal["x", "y"] = "x") -> None:
    """Label a logarithmic axis with plain numbers, as many as can be read.

    Args:
        axes: The drawing.
        values: What the axis has room for, above 0.
        axis: Which of the two.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    span = np.log10(max(values, default=1.0) / max(min(values, default=1.0), 1e-9))
    steps = (1.0, 2.0, 5.0) if span < 2 else (1.0,)
    found = axes.xaxis if axis == "x" else axes.yaxis
    found.set_major_locator(LogLocator(subs=steps))
    found.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    found.set_minor_formatter(NullFormatter())


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, in fonts that know the characters of labels."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        if isinstance(text, Text):
            text.set_fontfamily(list(_installed_fonts()))
    figure.savefig(path, dpi=120)


@cache
def _installed_fonts() -> tuple[str, ...]:
    from matplotlib import font_manager

    there = {font.name for font in font_manager.fontManager.ttflist}
    return tuple(name for name in _FONTS if name in there)
