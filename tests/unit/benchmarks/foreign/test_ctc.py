"""Greedy CTC decoding, against texts whose paths are made by the definition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.foreign.ctc import best_path

CLASSES = 5


@st.composite
def paths(draw: st.DrawFn, blank: int) -> tuple[Sequence[int], Sequence[int]]:
    """A text of classes, and a path that spells it, with repeats and blanks."""
    classes = [each for each in range(CLASSES) if each != blank]
    text = draw(st.lists(st.sampled_from(classes), max_size=8))
    path = [blank] * draw(st.integers(0, 2))
    for place, letter in enumerate(text):
        path += [letter] * draw(st.integers(1, 3))
        again = text[place + 1 : place + 2] == [letter]
        path += [blank] * draw(st.integers(int(again), 2))
    return text, path


def shares_of(path: Sequence[int], seed: int) -> npt.NDArray[np.float64]:
    """(T, C) probabilities whose best path is ``path``."""
    shares = np.random.default_rng(seed).uniform(0.1, 0.4, (len(path), CLASSES))
    shares[np.arange(len(path)), path] = np.random.default_rng(seed + 1).uniform(1, 2, len(path))
    return shares / shares.sum(axis=1, keepdims=True)


@given(st.integers(0, CLASSES - 1), st.data(), st.integers(1, 4), st.integers(0, 99))
def test_any_path_decodes_to_the_text_that_it_spells(
    blank: int, data: st.DataObject, count: int, seed: int
) -> None:
    found = [data.draw(paths(blank)) for _ in range(count)]
    length = max(1, *(len(path) for _, path in found))
    filled = [[*path, *[blank] * (length - len(path))] for _, path in found]
    shares = np.stack([shares_of(path, seed + row) for row, path in enumerate(filled)])
    spelled = best_path(shares, blank)
    letters = shares.argmax(axis=2)[spelled.rows, spelled.steps]
    assert spelled.lengths.tolist() == [len(text) for text, _ in found]
    for row, (text, _) in enumerate(found):
        own = spelled.rows == row
        assert letters[own].tolist() == text
        assert spelled.places[own].tolist() == [*range(len(text))]


def test_the_surest_step_of_a_run_speaks_for_it() -> None:
    # Runs of class 1: steps 0 to 2, surest at 1; after a blank step 4 to 5, surest at 4.
    sure = [0.6, 0.9, 0.7, 0.8, 0.9, 0.5]
    path = [1, 1, 1, 0, 1, 1]
    shares = np.full((1, 6, 3), 0.0)
    for step, (share, best) in enumerate(zip(sure, path, strict=True)):
        shares[0, step] = (1 - share) / 2
        shares[0, step, best] = share
    found = best_path(shares, 0)
    assert found.steps.tolist() == [1, 4]
    assert found.places.tolist() == [0, 1]
    assert found.lengths.tolist() == [2]


def test_nothing_but_blanks_is_an_empty_text() -> None:
    shares = np.tile([0.1, 0.8, 0.1], (2, 4, 1))
    found = best_path(shares, 1)
    assert found.lengths.tolist() == [0, 0]
    assert not len(found.steps)
