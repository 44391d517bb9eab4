"""Training curves as a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["draw_curves"]


def draw_curves(history: Sequence[Mapping[str, Any]]) -> bytes:
    """Return a PNG with loss, learning rate and accuracies over the steps.

    Args:
        history: Rows as ``train.loop`` writes them.
    """
    from matplotlib.figure import Figure

    steps = [row["step"] for row in history]
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(steps, [row["loss"] for row in history], label="training loss")
    left.plot(steps, [row["validation_loss"] for row in history], label="validation loss")
    left.set(xlabel="step", ylabel="loss", yscale="log")
    rate = left.twinx()
    rate.plot(steps, [row["lr"] for row in history], color="grey", linestyle=":")
    rate.set_ylabel("learning rate (dotted)")
    left.legend()
    for name in history[0]["heads"] if history else ():
        right.plot(steps, [row["heads"][name] for row in history], linewidth=0.8, label=name)
    right.plot(steps, [row["exact"] for row in history], color="black", linewidth=2, label="exact")
    right.set(xlabel="step", ylabel="validation accuracy", ylim=(0, 1.01))
    right.legend(fontsize="small", ncols=2)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    return stream.getvalue()
