"""Texts in one buffer behave like the list of them."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.crops.texts import Texts

ANY = st.lists(st.text(max_size=6), max_size=8)


@given(ANY)
def test_texts_are_the_list_of_them(texts: list[str]) -> None:
    made = Texts(iter(texts))
    assert list(made) == texts
    assert len(made) == len(texts)
    assert [made[i] for i in range(-len(texts), 0)] == texts
    assert list(made[1:-1]) == texts[1:-1]
    assert list(made[::-2]) == texts[::-2]
    with pytest.raises(IndexError):
        made[len(texts)]


@given(ANY, ANY, st.data())
def test_they_are_joined_and_taken(
    first: list[str], second: list[str], data: st.DataObject
) -> None:
    made = Texts(first)
    made.extend(Texts(second))
    made.append("end")
    whole = [*first, *second, "end"]
    assert made == Texts(whole)
    index = data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=9))
    assert list(made.take(np.array(index, np.int64))) == [whole[i] for i in index]
    assert made != Texts([*whole, ""])


def test_file_names_that_are_not_utf_8_come_back() -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    assert os.fsencode(Texts([name])[0]) == b"caf\xe9.jpg"


def test_a_text_costs_its_bytes_and_eight_more() -> None:
    made = Texts(f"{number:020d}" for number in range(10_000))
    held = sum(sys.getsizeof(part) for part in (made._data, made._ends))
    assert held < 1.3 * 10_000 * (20 + 8)
