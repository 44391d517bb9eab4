"""What is written reads as what was there."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.crops.pictures import Pictures
from benchmarks.labelled import read_labelled
from runtime.errors import DataError
from tests.unit.train.audit.crops import SCHEMA, scene, write_list
from train.audit.survey import Survey, take_survey
from train.split.files import check_pictures, read_tables, write_lists, write_tables
from train.split.parts import PARTS


def surveyed(sources: Sequence[Path], parts: Sequence[int]) -> Survey:
    survey = take_survey({"data": sources}, SCHEMA)
    return replace(survey, splits=PARTS, split=np.array(parts))


def rows_of(file: Path) -> list[list[str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream, delimiter="\t"))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_lists_and_trees_become_lists(tmp_path: Path) -> None:
    plain = write_list(tmp_path / "list", "all", [(scene(k), "blue,night") for k in range(3)])
    tree = tmp_path / "tree" / "red"
    tree.mkdir(parents=True)
    cv2.imwrite(str(tree / "1.png"), scene(9))
    assert read_tables([plain, tree.parent]) == []
    out = tmp_path / "out"
    out.mkdir()
    write_lists(out, surveyed([plain, tree.parent], [0, 2, 0, 2]))
    assert names(out) == ["test.tsv", "train.tsv"]  # no crop, no file
    folder = plain.parent
    assert rows_of(out / "train.tsv") == [[f"{folder}/all-{k}.png", "blue,night"] for k in (0, 2)]
    assert rows_of(out / "test.tsv") == [
        [f"{folder}/all-1.png", "blue,night"],
        [f"{tree}/1.png", "red"],
    ]


def test_tables_keep_all_columns_and_cells(tmp_path: Path) -> None:
    write_list(tmp_path, "p", [(scene(k), "blue") for k in range(5)])
    one = tmp_path / "one.csv"
    one.write_text(
        'id,path,colour,note,night\n7, p-0.png,blue,"a\tb ""c""\nd",1\n'
        "8,missing.png,red,bad,0\n9,p-1.png, red,NA,\n",
        encoding="utf-8",
    )
    other = tmp_path / "other.tsv"
    other.write_text(
        "Path\tnight\tcolour\tnote\tid\np-2.png\t-1\tblue\t\tx\np-3.png\t0\tred\té\ty\n",
        encoding="utf-8-sig",
    )
    tables = read_tables([one, other])
    out = tmp_path / "out"
    out.mkdir()
    write_tables(out, surveyed([one, other], [1, 0, 1, 0]), tables)
    header = ["id", "path", "colour", "note", "night"]
    assert names(out) == ["train.tsv", "val.tsv"]
    assert rows_of(out / "train.tsv") == [
        header,
        ["9", f"{tmp_path}/p-1.png", " red", "NA", ""],
        ["y", f"{tmp_path}/p-3.png", "red", "é", "0"],
    ]
    assert rows_of(out / "val.tsv") == [
        header,
        ["7", f"{tmp_path}/p-0.png", "blue", 'a\tb "c"\nd', "1"],
        ["x", f"{tmp_path}/p-2.png", "blue", "", "-1"],
    ]
    assert list(read_labelled(out / "train.tsv", SCHEMA).texts) == ["red", "red,-"]


@pytest.fixture(scope="module")
def two_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_list(tmp_path_factory.mktemp("two"), "p", [(scene(k), "red") for k in range(2)])


cells = st.text(st.sampled_from("ab\t\n\r,\"' \u2028"), max_size=6)


@given(st.lists(cells, min_size=2, max_size=2))
def test_any_cell_comes_back(two_pictures: Path, notes: list[str]) -> None:
    source, out = two_pictures.parent / "t.csv", two_pictures.parent / "out"
    with source.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
        writer.writerow(["path", "colour", "note"])
        writer.writerows([f"p-{k}.png", "red", note] for k, note in enumerate(notes))
    out.mkdir(exist_ok=True)
    write_tables(out, surveyed([source], [0, 0]), read_tables([source]))
    assert [row[2] for row in rows_of(out / "train.tsv")[1:]] == notes


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("path,colour\n", "a.png\tblue\n", "tables with a header and lists"),
        ("path,colour\n", "path,colour,more\n", r"has the columns \['colour', 'more'\]"),
    ],
)
def test_sources_of_two_forms_are_refused(
    tmp_path: Path, first: str, second: str, message: str
) -> None:
    for name, text in (("a", first), ("b", second)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_tables([tmp_path / "a", tmp_path / "b"])


def test_shards_and_regions_are_refused(tmp_path: Path, two_pictures: Path) -> None:
    with pytest.raises(DataError, match="split the list that they were packed from"):
        read_tables([tmp_path / "shards-{00..03}.tar"])
    boxed = two_pictures.parent / "boxed.txt"
    boxed.write_text("p-0.png blue 1 1 40 30 1 0\n", encoding="utf-8")
    found: Pictures = take_survey({"data": [boxed]}, SCHEMA).paths
    with pytest.raises(DataError, match="regions of pictures"):
        check_pictures(found)
