"""Greedy decoding of CTC outputs, many samples at a time.

Graves, Fernandez, Gomez and Schmidhuber, "Connectionist Temporal Classification: Labelling
Unsegmented Sequence Data with Recurrent Neural Networks", ICML 2006: the map B of section 3.1
(merge repeats, then drop blanks), applied to the best path of section 3.2. The best path is not
always the most probable text; prefix search, which finds that one more often, is left out because
what people deploy with such models is this.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.arrays import Floats

__all__ = ["Emissions", "best_path"]


class Emissions(NamedTuple):
    """The E characters that N samples spell, sample by sample, each in reading order."""

    rows: npt.NDArray[np.int64]
    """(E,) the sample that spells it."""
    places: npt.NDArray[np.int64]
    """(E,) its place in that sample's text, from 0."""
    steps: npt.NDArray[np.int64]
    """(E,) the surest step of those that spell it."""
    lengths: npt.NDArray[np.int64]
    """(N,) characters of every sample."""


def best_path(shares: Floats, blank: int) -> Emissions:
    """Collapse the best path of each sample.

    Args:
        shares: (N, T, C) probabilities of the classes at every step.
        blank: Index of CTC's blank among the classes.
    """
    count, length, _ = shares.shape
    best = shares.argmax(axis=2)
    starts = np.ones((count, length), np.bool_)  # where a run of one class begins
    np.not_equal(best[:, 1:], best[:, :-1], out=starts[:, 1:])
    firsts = np.flatnonzero(starts)
    runs = np.cumsum(starts.ravel())
    # Runs stay where they are and each begins with its surest step.
    order = np.lexsort((-shares.max(axis=2).ravel(), runs))
    spoken = best.ravel()[firsts] != blank
    rows, steps = np.divmod(order[firsts[spoken]], length)
    lengths = np.bincount(rows, minlength=count)
    places = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return Emissions(rows, places, steps, lengths)
