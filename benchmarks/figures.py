"""Pictures of results: confusion, reliability, latency.

Matplotlib is used without pyplot, so no display and no global state is touched. Labels that no
installed font can draw (Chinese ones on a bare machine) are shown by their number.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from runtime.errors import MissingExtraError
from runtime.schema import Head

from .calibration import Reliability
from .command import missing_extra
from .metrics import ChoiceMetrics, HeadMetrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["check_matplotlib", "draw_confusion", "draw_latencies", "draw_reliability"]

_FONTS: Final = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC")
"""Matplotlib's own font and, for what it lacks, those with Chinese characters."""
_MAX_LABELS: Final = 60
"""More labels than this would not be readable; the rarest are left out of the picture."""


def check_matplotlib() -> None:
    """Fail early when pictures cannot be drawn.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(missing_extra("matplotlib", "bench")) from error


def draw_confusion(path: Path, head: Head, metrics: HeadMetrics) -> None:
    """Draw what a head confuses.

    For a choice head: rows are the truth, columns the answer, shade the share of the row. For a
    labels head: precision, recall and F1 of every label.

    Args:
        path: PNG to write.
        head: The head, for its labels.
        metrics: What ``evaluate`` found for it.
    """
    if isinstance(metrics, ChoiceMetrics):
        used = metrics.confusion.sum(axis=0) + metrics.confusion.sum(axis=1)
        shown = _most_frequent(used)
        counts = metrics.confusion[np.ix_(shown, shown)]
        totals = np.maximum(metrics.confusion.sum(axis=1)[shown, None], 1)
        values, columns = counts / totals, _drawable(head, shown)
        x_title, y_title = "answer", "truth"
    else:
        shown = _most_frequent(metrics.scores.support)
        scores = metrics.scores
        values = np.stack([scores.precision, scores.recall, scores.f1], axis=1)[shown]
        columns = ["precision", "recall", "F1"]
        x_title, y_title = "", "label"
    rows = _drawable(head, shown)
    size = (max(4.5, 2.0 + 0.22 * len(columns)), max(2.5, 1.6 + 0.22 * len(rows)))
    figure, axes = _canvas(size)
    axes.imshow(values, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=90 if len(columns) > 3 else 45)
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlabel=x_title, ylabel=y_title)
    axes.set_title(f"{head.name}: {metrics.accuracy}", fontsize="medium")
    _save(figure, path)


def draw_reliability(path: Path, found: Reliability, title: str) -> None:
    """Draw accuracy over confidence, and how many answers each bin holds.

    Args:
        path: PNG to write.
        found: The bins.
        title: Which artifact.
    """
    figure, axes = _canvas((4.5, 4.5))
    filled = found.count > 0
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle="--")
    axes.plot(found.confidence[filled], found.accuracy[filled], marker="o")
    bins = len(found.count)
    share = found.count / max(1, int(found.count.sum()))
    axes.bar(
        (np.arange(bins) + 0.5) / bins, share, width=1 / bins, alpha=0.25, label="share of answers"
    )
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="share right")
    axes.set_title(f"{title}: calibration error {found.expected_calibration_error:.4f}")
    axes.legend(loc="lower right")
    _save(figure, path)


def draw_latencies(path: Path, latencies_ns: Mapping[str, npt.NDArray[np.int64]]) -> None:
    """Draw one histogram of query times per name, both axes such that any two can be compared.

    Args:
        path: PNG to write.
        latencies_ns: Name to (N,) query times.
    """
    figure, axes = _canvas((7.0, 4.0))
    times_ms = {name: times / 1e6 for name, times in latencies_ns.items()}
    low = min(float(times.min()) for times in times_ms.values())
    high = max(float(times.max()) for times in times_ms.values())
    edges = np.geomspace(low, high * 1.01, 120).tolist()
    for name, times in times_ms.items():
        share = np.full(len(times), 1 / len(times))
        axes.hist(times, bins=edges, weights=share, histtype="step", label=name)
    axes.set(xscale="log", xlabel="latency, ms", ylabel="share of queries")
    axes.legend(loc="upper right")
    _save(figure, path)


def _most_frequent(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """Indices of the labels that occur, in schema order; all labels where none occurs."""
    order = np.argsort(-counts, kind="stable")[:_MAX_LABELS]
    used = order[counts[order] > 0]
    return np.sort(used if len(used) else order)


def _canvas(size: tuple[float, float]) -> tuple[Figure, Axes]:
    check_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots()


def _save(figure: Figure, path: Path) -> None:
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


@cache
def _characters() -> frozenset[int]:
    """Code points that one of the fonts can draw."""
    from matplotlib import font_manager

    points: set[int] = set()
    for name in _installed_fonts():
        font = font_manager.get_font(font_manager.findfont(name))
        points.update(font.get_charmap())
    return frozenset(points)


def _drawable(head: Head, shown: npt.NDArray[np.intp]) -> list[str]:
    known = _characters()
    return [
        head.labels[k] if all(ord(letter) in known for letter in head.labels[k]) else f"#{k}"
        for k in shown
    ]
