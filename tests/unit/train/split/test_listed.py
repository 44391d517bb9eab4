"""Lists that exist say which part their pictures have."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.crops.pictures import Pictures
from benchmarks.labelled import scan_rows
from runtime.errors import DataError
from runtime.schema import Head, HeadKind, Schema
from tests.unit.train.audit.crops import SCHEMA
from train.split.listed import listed_parts


def pictures(folder: Path, *names: str) -> Pictures:
    source = folder / "all.tsv"
    source.write_text("".join(f"{name}\tblue\n" for name in names), encoding="utf-8")
    return scan_rows(source, SCHEMA).pictures


def three(folder: Path, *texts: str) -> list[Path]:
    paths = [folder / f"part{index}.txt" for index in range(3)]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def test_lists_tables_and_trees_of_other_labels_prescribe_parts(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "cat").mkdir(parents=True)
    (tree / "cat" / "d.png").touch()
    lists = three(tmp_path, "a.png\tdog\nb.png\t\n", "path,age\nsub/../c.png,3\n", "x\ty\n")
    lists[2] = tree
    found = pictures(tmp_path, "c.png", "a.png", "new.png", "tree/cat/d.png", "b.png")
    assert listed_parts(found, lists, SCHEMA).tolist() == [1, 0, -1, 2, 0]


def test_label_numbers_are_read_with_the_schema(tmp_path: Path) -> None:
    schema = Schema(name="one", heads=(Head(name="c", kind=HeadKind.CHOICE, labels=("x", "y")),))
    lists = three(tmp_path, "a.png 1\n", "b.png 0\n", "c.png -1\n")
    assert listed_parts(pictures(tmp_path, "b.png", "c.png"), lists, schema).tolist() == [1, 2]


def test_no_lists_prescribe_nothing(tmp_path: Path) -> None:
    assert listed_parts(pictures(tmp_path, "a.png"), (), SCHEMA).tolist() == [-1]


def test_a_picture_in_two_lists_is_refused(tmp_path: Path) -> None:
    lists = three(tmp_path, "a.png\tx\na.png\tx\n", "b.png\tx\n", "c.png\tx\na.png\ty\n")
    with pytest.raises(DataError, match=r"1 pictures stand in two .*\n  .*/a\.png$"):
        listed_parts(pictures(tmp_path, "a.png"), lists, SCHEMA)


def test_lists_of_other_files_are_refused(tmp_path: Path) -> None:
    lists = three(tmp_path, "a.png\tx\n", "b.png\tx\n", "c.png\tx\n")
    with pytest.raises(DataError, match="none of the 1 pictures"):
        listed_parts(pictures(tmp_path, "d.png"), lists, SCHEMA)
