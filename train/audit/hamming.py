"""Pairs of bit strings that differ in few places, among a hundred thousand, by brute force.

Every string is compared with every other, 64 bits by one instruction: about a nanosecond a pair,
five seconds for 100,000 strings. Index structures for Hamming space (multi-index hashing, trees)
win only far beyond that, and degrade on crops that all look alike, as number plates do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Hashes", "Pairs", "close_pairs", "pack"]

Hashes: TypeAlias = npt.NDArray[np.uint64]
"""(N, W): N bit strings as W words."""
Pairs: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""First index, second index (larger than the first), number of bits that differ; all (M,)."""

_ROWS: Final = 64
_COLUMNS: Final = 8192
"""A block of 64-bit words of 4 MB: it stays in the cache between the three steps."""


def pack(bits: npt.NDArray[np.bool_]) -> Hashes:
    """Pack (N, B) bits into (N, ceil(B / 64)) words, filled up with zeros."""
    count, length = bits.shape
    padded = np.zeros((count, -length % 64 + length), np.bool_)
    padded[:, :length] = bits
    return np.packbits(padded, axis=1).view(np.uint64)


def close_pairs(
    hashes: Hashes, limit: int, watch: Callable[[int], None] = lambda _: None
) -> Iterator[Pairs]:
    """Yield all pairs of strings that differ in at most ``limit`` bits, block by block.

    Args:
        hashes: (N, W).
        limit: Largest number of differing bits, >= 0.
        watch: Called with the number of rows done.
    """
    words = np.ascontiguousarray(hashes.T)  # (W, N): the first words of all strings lie together
    differing = np.empty((_ROWS, _COLUMNS), np.uint64)
    counts = np.empty((_ROWS, _COLUMNS), np.uint8)
    for top in range(0, len(hashes), _ROWS):
        rows = words[0, top : top + _ROWS]
        for left in range(top, len(hashes), _COLUMNS):
            columns = words[0, left : left + _COLUMNS]
            block = (slice(len(rows)), slice(len(columns)))
            np.bitwise_xor(rows[:, None], columns[None], out=differing[block])
            np.bitwise_count(differing[block], out=counts[block])
            # The first word alone rules out nearly all: only the rest is counted in full.
            first, second = np.nonzero(counts[block] <= limit)
            pairs = _exact(words, first + top, second + left, limit)
            if len(pairs[0]):
                yield pairs
        watch(min(top + _ROWS, len(hashes)))


def _exact(
    words: Hashes, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], limit: int
) -> Pairs:
    once = first < second
    first, second = first[once], second[once]
    distance = np.bitwise_count(words[:, first] ^ words[:, second]).sum(axis=0, dtype=np.int64)
    close = distance <= limit
    return first[close], second[close], distance[close]
