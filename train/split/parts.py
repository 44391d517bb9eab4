"""Which part each group goes to: that of lists that exist already, else by a hash of its key."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.arrays import Bools

from .groups import Groups

__all__ = ["PARTS", "UNLISTED", "Assignment", "assign", "draw"]

PARTS: Final = ("train", "val", "test")
UNLISTED: Final = -1


@dataclass(frozen=True, slots=True, eq=False)
class Assignment:
    """N crops of G groups in parts."""

    part: npt.NDArray[np.int64]
    """(N,) index into ``PARTS``."""
    kept: Bools
    """(N,) whether an existing list says so."""
    torn: npt.NDArray[np.int64]
    """Groups that stand in several parts, because existing lists have them there."""


def assign(
    groups: Groups, shares: Sequence[float], seed: int, listed: npt.NDArray[np.int64]
) -> Assignment:
    """Give every crop its part.

    A listed crop keeps its part. The others of its group follow: where the group is listed in
    several parts, to the one with most of its listed crops, the first of equals. A group that is
    not listed goes where its key and ``seed`` draw it, independently of all others.

    Args:
        groups: Of N crops.
        shares: Of the parts, at least 0, of which one is more.
        seed: Changes all draws.
        listed: (N,) part that an existing list gives, or ``UNLISTED``.
    """
    bounds = np.cumsum(shares)
    drawn = np.searchsorted(bounds[:-1] / bounds[-1], draw(groups.keys, seed), side="right")
    known = listed != UNLISTED
    counts = np.zeros((len(groups), len(shares)), np.int64)
    np.add.at(counts, (groups.of[known], listed[known]), 1)
    of_group = np.where(counts.any(axis=1), counts.argmax(axis=1), drawn)
    return Assignment(
        part=np.where(known, listed, of_group[groups.of]),
        kept=known,
        torn=np.flatnonzero((counts > 0).sum(axis=1) > 1),
    )


def draw(keys: npt.NDArray[np.uint8], seed: int) -> npt.NDArray[np.float64]:
    """Return a number in [0, 1) for each key, uniform, and a function of key and seed alone.

    Args:
        keys: (G, 16).
        seed: Changes all numbers.
    """
    salt = f"{seed} ".encode()
    hashes = (hashlib.blake2b(salt + key.tobytes(), digest_size=8).digest() for key in keys)
    # 53 bits: what a float holds, so that none is rounded up to 1.
    return np.array([(int.from_bytes(value, "big") >> 11) / 2**53 for value in hashes], np.float64)
