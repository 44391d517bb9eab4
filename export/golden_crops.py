"""Which crops become golden vectors: together they show as many labels as a few crops can.

An engine that computes one label wrongly is found at load only by a crop that shows it. Crops that
the engine is unsure of are left aside: they move by any probability on a CPU that rounds otherwise,
and so tell nothing of damage.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from runtime.arrays import Bools, Logits
from runtime.schema import Head, HeadKind, Schema
from runtime.scores import probabilities

__all__ = ["choose_golden"]


def choose_golden(
    schema: Schema, logits: Logits, *, count: int, tolerance: float
) -> npt.NDArray[np.int64]:
    """Choose golden crops by what the engine answers.

    Args:
        schema: Heads of the engine.
        logits: Its scores of N crops, head name to (N, K).
        count: How many to choose.
        tolerance: Probability difference that a load accepts. A crop is sure where its answers are
            more than twice that ahead: within the tolerance they cannot change.

    Returns:
        (min(count, N),) indices, ascending.
    """
    scores = [(head, probabilities(head, logits[head.name])) for head in schema.heads]
    shown = np.concatenate([_shown(head, values) for head, values in scores], axis=1)
    margin = np.min([_margin(head, values) for head, values in scores], axis=0)
    unsure = margin <= 2 * tolerance
    seen = np.zeros(shown.shape[1], np.bool_)
    chosen: list[int] = []
    while len(chosen) < min(count, len(shown)):
        new = (shown & ~seen).sum(axis=1)
        # By the last key first: sure ones, then most labels not seen yet, then the surest.
        order = np.lexsort((-margin, -new, unsure))
        best = int(order[~np.isin(order, chosen)][0])
        chosen.append(best)
        seen |= shown[best]
    return np.sort(np.asarray(chosen, np.int64))


def _shown(head: Head, values: npt.NDArray[np.float64]) -> Bools:
    """Return which labels each crop's answer has: (N, K)."""
    if head.kind is HeadKind.LABELS:
        return values >= 0.5
    best: Bools = np.arange(head.size) == values.argmax(axis=1)[:, None]
    return best


def _margin(head: Head, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return how far the answer is ahead of the next one: (N,) in [0, 1]."""
    if head.kind is HeadKind.LABELS:
        apart: npt.NDArray[np.float64] = np.abs(2 * values - 1).min(axis=1)
        return apart
    best = np.sort(values, axis=1)
    ahead: npt.NDArray[np.float64] = best[:, -1] - best[:, -2]
    return ahead
