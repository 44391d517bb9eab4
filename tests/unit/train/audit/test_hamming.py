"""All close pairs are found, and no other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.audit.hamming import close_pairs, pack


def brute(bits: np.ndarray, limit: int) -> set[tuple[int, int, int]]:
    differ = (bits[:, None] != bits[None]).sum(axis=2)
    return {
        (i, j, int(differ[i, j]))
        for i in range(len(bits))
        for j in range(i + 1, len(bits))
        if differ[i, j] <= limit
    }


def found(bits: np.ndarray, limit: int) -> list[tuple[int, int, int]]:
    blocks = close_pairs(pack(bits), limit)
    return [tuple(map(int, pair)) for block in blocks for pair in zip(*block, strict=True)]


@given(
    count=st.integers(0, 150),
    length=st.sampled_from([1, 63, 64, 65, 144]),
    limit=st.integers(0, 60),
    seed=st.integers(0, 2**32 - 1),
)
def test_pairs_are_those_of_a_full_comparison(
    count: int, length: int, limit: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    few = random.random((max(1, count // 4), length)) < 0.5
    bits = few[random.integers(0, len(few), count)] ^ (random.random((count, length)) < 0.05)
    pairs = found(bits, limit)
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == brute(bits, limit)


@pytest.mark.parametrize("distance", [0, 3])
def test_pairs_across_column_blocks(distance: int) -> None:
    random = np.random.default_rng(1)
    bits = random.random((9000, 128)) < 0.5
    bits[8995] = bits[3]
    bits[8995, 60 : 60 + distance] ^= True  # across the border of two words
    assert found(bits, 4) == [(3, 8995, distance)]


def test_rows_are_reported_to_the_end() -> None:
    seen: list[int] = []
    bits = np.random.default_rng(0).random((130, 64)) < 0.5
    assert list(close_pairs(pack(bits), 0, seen.append)) == []
    assert seen == [64, 128, 130]
