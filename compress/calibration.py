"""The calibration set: which crops the INT8 ranges are measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.labelled import read_labelled
from runtime.arrays import Images
from runtime.errors import DataError
from runtime.preprocess import InputSpec
from runtime.schema import Schema

__all__ = ["MINIMUM", "draw_calibration", "shares"]

MINIMUM = 32
"""Fewer crops than this do not show the range of a network's activations."""


def draw_calibration(
    sources: Sequence[Path],
    schema: Schema,
    spec: InputSpec,
    *,
    count: int,
    seed: int,
    skip_bad: bool = False,
) -> tuple[Images, str]:
    """Draw calibration crops evenly from the user's own lists, and from nowhere else.

    Args:
        sources: Labelled lists or trees; each gives an equal share, as far as it reaches, and the
            others fill up what it lacks.
        schema: What their labels must fit.
        spec: Size to bring the crops to.
        count: Crops to draw, >= ``MINIMUM``.
        seed: Of the draw.
        skip_bad: Leave bad rows out instead of failing.

    Returns:
        (N, height, width, 3) uint8 and the SHA-256 of the pixels drawn.

    Raises:
        DataError: a source is empty or out of the schema, or fewer than ``MINIMUM`` crops exist.
    """
    parts = [read_labelled(source, schema, skip_bad=skip_bad) for source in sources]
    random = np.random.default_rng(seed)
    drawn = [np.empty((0, *spec.shape), np.uint8)]
    for part, share in zip(parts, shares([len(part) for part in parts], count), strict=True):
        index = random.permutation(len(part))[:share]
        drawn.append(part.take(np.sort(index)).fitted(spec))
    images = np.concatenate(drawn)
    if len(images) < MINIMUM:
        raise DataError(
            f"{len(images)} calibration crops in {', '.join(map(str, sources)) or 'no list'}; "
            f"INT8 ranges need at least {MINIMUM} real crops of your task, better 300"
        )
    return images, hashlib.sha256(images.tobytes()).hexdigest()


def shares(sizes: Sequence[int], count: int) -> list[int]:
    """Return how many of ``count`` each source gives, as evenly as their sizes let it."""
    given = [0] * len(sizes)
    # From the smallest: what it cannot give is shared out among those that are left.
    for done, index in enumerate(sorted(range(len(sizes)), key=lambda index: sizes[index])):
        left = len(sizes) - done
        given[index] = min(sizes[index], -(-(count - sum(given)) // left))
    return given
