from __future__ import annotations

import numpy as np
import pytest

from runtime.joined import JoinedScores, ScoreBlock

SIZES = {"a": 2, "b": 3}


def block() -> ScoreBlock:
    made = ScoreBlock(SIZES)
    made.parts[0][:], made.parts[1][:] = [[1, 2]], [[3, 4, 5]]
    return made


def test_heads_are_views_of_one_row_that_ends_with_minus_infinity() -> None:
    scores = block().take()
    assert scores.row.tolist() == [1, 2, 3, 4, 5, -np.inf]
    assert [*scores] == ["a", "b"]
    assert len(scores) == 2
    assert {name: part.tolist() for name, part in scores.items()} == {
        "a": [[1, 2]],
        "b": [[3, 4, 5]],
    }
    assert scores["b"].dtype == np.float32
    assert np.shares_memory(scores["b"], scores.row)
    with pytest.raises(KeyError):
        scores["c"]


def test_parts_are_contiguous_for_the_engine_to_write_into() -> None:
    for part, size in zip(block().parts, SIZES.values(), strict=True):
        assert part.shape == (1, size)
        assert part.flags.c_contiguous
        assert part.flags.writeable


def test_an_engine_with_one_output_writes_into_the_whole() -> None:
    made = block()
    assert made.whole.flags.c_contiguous
    made.whole[:] = [[5, 6, 7, 8, 9]]
    assert made.take()["b"].tolist() == [[7, 8, 9]]
    assert made.take().row[-1] == -np.inf


def test_what_was_taken_stays_when_the_engine_writes_again() -> None:
    made = block()
    first = made.take()
    made.parts[0][:] = 9
    assert first["a"].tolist() == [[1, 2]]
    assert made.take()["a"].tolist() == [[9, 9]]


def test_pieces_joined() -> None:
    pieces = {"a": np.array([[1, 2]], np.float32), "b": np.array([[3, 4, 5]], np.float32)}
    scores = JoinedScores.of([*pieces.values()], {"a": slice(0, 2), "b": slice(2, 5)})
    assert scores.row.tolist() == [1, 2, 3, 4, 5, -np.inf]
    assert all((scores[name] == part).all() for name, part in pieces.items())
    scores["a"][:] = 7  # its own memory
    assert pieces["a"].tolist() == [[1, 2]]
