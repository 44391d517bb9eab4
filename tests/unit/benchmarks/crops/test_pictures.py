"""Pictures from files, regions and shards, side by side; work spread over threads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.crops.pictures import Pictures, for_each
from benchmarks.labelled import read_labelled
from benchmarks.scoring import check_apart
from runtime.errors import DataError
from tests.unit.benchmarks.crops.test_lists import ANIMALS
from tests.unit.benchmarks.crops.test_lists import write as write_numbers
from tests.unit.benchmarks.crops.test_shards import numbered
from tests.unit.benchmarks.test_labelled import COLOURS, write_list


def test_pictures_of_all_kinds_are_joined(tmp_path: Path) -> None:
    numbered(tmp_path / "tar", 2, 3)
    parts = [
        read_labelled(write_list(tmp_path / "list", "black,jeans", "blue,shirt"), COLOURS),
        read_labelled(tmp_path / "tar", COLOURS),
        read_labelled(write_numbers(tmp_path, "a.png cat 2 1 5 6 1 0 0"), ANIMALS),
    ]
    joined = Pictures.joined([part.paths for part in parts])
    singly = [(part.paths, i) for part in parts for i in range(len(part))]
    assert len(joined) == len(singly) == 8
    for index, (pictures, i) in enumerate(singly):
        assert joined[index] == pictures[i]
        assert joined.identity(index) == pictures.identity(i)
        np.testing.assert_array_equal(joined.read(index), pictures.read(i))
    assert joined.identity(7) == "a.png [2, 1, 5, 6]"
    assert list(joined.take(np.array([6, 0]))) == [joined[6], joined[0]]
    assert list(joined[2:4]) == [joined[2], joined[3]]
    only_files = Pictures.joined([parts[0].paths, parts[0].paths])
    assert only_files.spans is None
    assert only_files.boxes is None


@pytest.mark.parametrize("count", [0, 1, 2, 31, 64, 65, 5000])
def test_every_number_is_worked_on_once(count: int) -> None:
    done: list[int] = []
    for_each(count, done.append)
    assert sorted(done) == list(range(count))


def test_an_error_stops_the_work_and_is_raised() -> None:
    done: list[int] = []

    def work(number: int) -> None:
        done.append(number)
        if number == 70:
            raise DataError("seventy")

    with pytest.raises(DataError, match="seventy"):
        for_each(1_000_000, work)
    assert len(done) < 500_000


def test_samples_of_one_shard_are_not_apart(tmp_path: Path) -> None:
    shards = numbered(tmp_path, 2, 3)
    first, both = read_labelled(shards[0], COLOURS), read_labelled(tmp_path, COLOURS)
    check_apart(first, read_labelled(shards[1], COLOURS))
    with pytest.raises(DataError, match="2 pictures are in both"):
        check_apart(first, both)
