"""The roofline as a picture: rate of arithmetic over arithmetic per byte, both logarithmic."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from benchmarks.figures import canvas, plain_log, save

from .ceilings import Ceilings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_roofline"]


class Point(Protocol):
    """What is drawn of an artifact."""

    @property
    def name(self) -> str:
        """Of the artifact."""

    @property
    def batch(self) -> int:
        """Samples of a call."""

    @property
    def macs(self) -> int:
        """Of a call."""

    @property
    def bytes(self) -> int:
        """Of a call."""

    @property
    def call_s(self) -> float:
        """Time of a call."""


def draw_roofline(path: Path, ceilings: Ceilings, points: Sequence[Point]) -> None:
    """Draw the limits as lines and every artifact as one mark per batch.

    Args:
        path: PNG to write.
        ceilings: The limits.
        points: At least one.
    """
    figure, axes = canvas((8.0, 5.0))
    places = np.array([point.macs / point.bytes for point in points])
    rates = np.array([point.macs / point.call_s / 1e9 for point in points])
    top = max(peak.macs_per_s for peak in ceilings.peaks.values()) / 1e9
    low = min(places.min(), 0.2 * top * 1e9 / ceilings.bandwidths[0].bytes_per_s) / 2
    span = np.geomspace(low, places.max() * 3, 200)
    _draw_limits(axes, ceilings, span, top)
    for number, name in enumerate(dict.fromkeys(point.name for point in points)):
        own = [place for place, point in enumerate(points) if point.name == name]
        axes.plot(
            places[own], rates[own], color=f"C{number}", marker="o", linewidth=0.8, label=name
        )
        for place in own:
            axes.annotate(
                f"batch {points[place].batch}",
                (places[place], rates[place]),
                textcoords="offset points",
                xytext=(0, 8),
                ha="center",
                fontsize="small",
                color=f"C{number}",
            )
    axes.set(xscale="log", yscale="log", xlim=(span[0], span[-1]))
    axes.set(xlabel="MAC per byte moved", ylabel="GMAC/s")
    axes.set_ylim(rates.min() / 3, top * 2)
    plain_log(axes, span.tolist())
    plain_log(axes, [rates.min() / 3, top * 2], axis="y")
    threads = f"{ceilings.threads} thread{'s' if ceilings.threads > 1 else ''}"
    axes.set_title(f"What the processor can do, and what engines reach ({threads})", loc="left")
    axes.grid(which="major", linewidth=0.3)
    figure.legend(loc="outside lower center", ncols=3)
    save(figure, path)


def _draw_limits(
    axes: Axes, ceilings: Ceilings, span: np.ndarray[tuple[int], np.dtype[np.float64]], top: float
) -> None:
    styles = ("-", "--", ":", "-.")
    for style, each in zip(styles, ceilings.bandwidths, strict=False):
        rate = each.bytes_per_s / 1e9
        axes.plot(
            span,
            np.minimum(span * rate, top),
            color="grey",
            linestyle=style,
            linewidth=1,
            label=f"{each.level}: {rate:.0f} GB/s",
        )
    for name, peak in ceilings.peaks.items():
        rate = peak.macs_per_s / 1e9
        axes.axhline(rate, color="black", linewidth=0.8)
        axes.annotate(
            f"{name}: {rate:.0f} GMAC/s",
            (span[0], rate),
            textcoords="offset points",
            xytext=(4, 3),
            fontsize="small",
        )
