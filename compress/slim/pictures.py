"""Pictures of a slimming: what happened to the scales and to the widths."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from .sparsity import BINS

__all__ = ["draw_scales"]


def draw_scales(
    history: Sequence[Mapping[str, Any]], widths: Mapping[str, tuple[int, int]]
) -> bytes:
    """Return a PNG: scale histograms, share of near-zero scales, channels kept per group.

    Two separate humps in the last histogram are the sign that slimming works.

    Args:
        history: Rows with ``step``, ``near_zero`` and ``scale_histogram``, the first from before
            the training.
        widths: Group name to channels before and after.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4.5), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for row in {
        id(row): row for row in (history[0], history[len(history) // 2], history[-1])
    }.values():
        left.stairs(row["scale_histogram"], BINS, label=f"step {row['step']}")
    left.set(xlabel="BatchNorm scale / group's mean at the start", ylabel="channels")
    left.legend()
    middle.plot([row["step"] for row in history], [row["near_zero"] for row in history], marker=".")
    middle.set(xlabel="step of sparsity training", ylabel="share of scales near zero", ylim=(0, 1))
    places = range(len(widths))
    right.barh(places, [old for old, _ in widths.values()], color="lightgrey", label="before")
    right.barh(places, [new for _, new in widths.values()], label="kept")
    right.set_yticks(places, list(widths), fontsize="x-small")
    right.invert_yaxis()
    right.set(xlabel="channels")
    right.legend()
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    return stream.getvalue()
