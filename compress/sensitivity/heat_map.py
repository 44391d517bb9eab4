"""The picture of a sensitivity analysis: a layer per row, a head per column."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

__all__ = ["draw_heat_maps"]

_LEAST: Final = 1e-7
"""Divergence, nats, below which everything is painted alike."""


def draw_heat_maps(
    rows: Sequence[Mapping[str, Any]], baseline: Mapping[str, float], title: str
) -> bytes:
    """Return a PNG: on the left how far each head's probabilities move, on the right accuracy lost.

    Args:
        rows: Each with ``layer``, ``divergence`` by head and ``accuracy`` by head and ``exact``.
        baseline: Accuracy of the untouched network, by the same names.
        title: What was done to a layer.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    layers = [row["layer"] for row in rows]
    heads = list(rows[0]["divergence"])
    moved = np.array([[row["divergence"][head] for head in heads] for row in rows])
    lost = np.array([[baseline[n] - row["accuracy"][n] for n in baseline] for row in rows])
    figure = Figure(figsize=(14, 1.5 + 0.22 * len(layers)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    norm = LogNorm(_LEAST, max(float(moved.max()), 10 * _LEAST))
    image = left.imshow(np.maximum(moved, _LEAST), aspect="auto", cmap="viridis", norm=norm)
    figure.colorbar(image, ax=left, label="divergence of a head, nats per crop")
    reach = max(1.0, 100 * float(np.abs(lost).max()))
    image = right.imshow(100 * lost, aspect="auto", cmap="coolwarm", vmin=-reach, vmax=reach)
    figure.colorbar(image, ax=right, label="accuracy lost, points")
    left.set_yticks(range(len(layers)), layers, fontsize="x-small")
    for axes, names in ((left, heads), (right, list(baseline))):
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize="small")
    figure.suptitle(title)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    return stream.getvalue()
