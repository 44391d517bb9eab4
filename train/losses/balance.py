"""Weights that even out how often labels occur, from the labels of one epoch."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["class_weights", "positive_weights"]

_SCALINGS: Final = 50
"""Scaling may lift weights over the limit and cutting them lowers the mean; this settles both."""

Floats = npt.NDArray[np.float32]


def class_weights(target: npt.NDArray[np.integer], labels: int, limit: float) -> Floats:
    """Return the weight of every class of a choice head, (K,): the inverse of its frequency.

    The alpha of Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, section 3.1.

    Args:
        target: (N,) label indices, -1 where missing.
        labels: K.
        limit: Largest weight; 1 / ``limit`` is the smallest. Between them all are scaled so that
            their mean over the samples is 1, and learning rates mean what they meant.
    """
    counts = np.bincount(target[target >= 0], minlength=labels)
    samples = max(1, counts.sum())
    weights = samples / labels / np.maximum(counts, 1e-9)
    for _ in range(_SCALINGS):
        weights = np.clip(weights, 1 / limit, limit)
        weights /= (counts * weights).sum() / samples or 1.0
    found: Floats = np.clip(weights, 1 / limit, limit).astype(np.float32)
    return found


def positive_weights(target: npt.NDArray[np.integer], limit: float) -> Floats:
    """Return negatives over positives of every label of a labels head, (K,).

    Args:
        target: (N, K) of 0 and 1, -1 where missing.
        limit: Largest result; 1 / ``limit`` is the smallest.
    """
    positives, negatives = (target == 1).sum(0), (target == 0).sum(0)
    # A label that nobody knows anything about keeps its weight.
    ratio = np.where(positives + negatives, negatives / np.maximum(positives, 1e-9), 1.0)
    weights: Floats = np.clip(ratio, 1 / limit, limit).astype(np.float32)
    return weights
