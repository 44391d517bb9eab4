"""Lists whose labels are numbers: label numbers per head, and regions with attributes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.labelled import label_columns, read_labelled
from runtime.builtin_schemas import us_plate
from runtime.errors import DataError
from runtime.schema import Head, HeadKind, Reading, Schema
from tests.unit.benchmarks.test_labelled import COLOURS, failure, picture

CODES = Schema(
    name="codes",
    heads=(
        Head(name="first", kind=HeadKind.CHOICE, labels=("A", "B", "_")),
        Head(name="second", kind=HeadKind.CHOICE, labels=("0", "1", "_")),
        Head(name="colour", kind=HeadKind.CHOICE, labels=("blue", "red")),
    ),
    readings=(Reading(name="code", heads=("first", "second"), blank="_"),),
)
ANIMALS = Schema(
    name="animals",
    heads=(
        Head(name="traits", kind=HeadKind.LABELS, labels=("tail", "fur", "wheel")),
        Head(name="kind", kind=HeadKind.CHOICE, labels=("cat", "bus")),
    ),
)


def write(folder: Path, *lines: str, pictures: tuple[str, ...] = ("a.png", "b.png")) -> Path:
    for name in pictures:
        picture(folder / name)
    path = folder / "list.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


# ---- label numbers ----------------------------------------------------------------------------


def test_numbers_name_labels_in_schema_order(tmp_path: Path) -> None:
    source = write(tmp_path, "a.png 1 0 1", "b.png -1 1 0", "a.png 0 2 -1", "b.png -1 -1 1")
    crops = read_labelled(source, CODES)
    assert crops.targets.choices["first"].tolist() == [1, -1, 0, -1]
    assert crops.targets.choices["second"].tolist() == [0, 1, 2, -1]
    assert crops.targets.choices["colour"].tolist() == [1, 0, -1, 1]
    assert [path.name for path in crops.paths] == ["a.png", "b.png", "a.png", "b.png"]
    # Shown as the label columns that a person would have written.
    assert list(crops.texts) == ["B0,red", "?1,blue", "A", ",red"]


def test_paths_may_hold_spaces_and_numbers(tmp_path: Path) -> None:
    names = ("my photo 12.png", "photo 7", "in dir/b 3.png")
    for name in names:
        picture(tmp_path / "x.png")
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((tmp_path / "x.png").read_bytes())
    source = write(tmp_path, *(f"{name}  1   0 1\r" for name in names))
    crops = read_labelled(source, CODES)
    assert [str(path.relative_to(tmp_path)) for path in crops.paths] == list(names)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.png 1 0", "expected a path and 3 whole numbers, one for each of ['first', 'second', "),
        ("a.png 1 0 1 1", "expected a path and 3 whole numbers"),
        ("a.png 1 x 1", "expected a path and 3 whole numbers"),
        ("a.png 1 0 1.0", "expected a path and 3 whole numbers"),
        ("a.png", "expected a path and 3 whole numbers"),
        ("a.png 3 0 1", "head 'first' has no label number 3; expected 0 to 2, or -1 where unknown"),
        ("a.png 1 0 -2", "head 'colour' has no label number -2"),
        ("a.png -1 -1 -1", "no label; every number is -1"),
    ],
)
def test_lines_that_do_not_fit_are_named(tmp_path: Path, line: str, message: str) -> None:
    source = write(tmp_path, "b.png 1 0 1", line)
    told = failure(source, CODES)
    assert f"{source}:2: " in told
    assert message in told
    assert "1 of 2 rows" in told
    assert len(read_labelled(source, CODES, skip_bad=True)) == 1


def test_a_tab_makes_it_a_list_of_labels(tmp_path: Path) -> None:
    digits = Schema(
        name="digits", heads=(Head(name="digit", kind=HeadKind.CHOICE, labels=("2", "1", "0")),)
    )
    labels = read_labelled(write(tmp_path / "a", "a.png\t0", "b.png\t1"), digits)
    numbers = read_labelled(write(tmp_path / "b", "a.png 0", "b.png 1"), digits)
    assert labels.targets.choices["digit"].tolist() == [2, 1]
    assert numbers.targets.choices["digit"].tolist() == [0, 1]


def test_a_line_without_tab_in_a_list_of_labels_is_bad(tmp_path: Path) -> None:
    source = write(tmp_path, "a.png\tblack,jeans", "b.png 1 0")
    assert f"{source}:2: " in failure(source, COLOURS)


def test_numbers_give_no_schema(tmp_path: Path) -> None:
    source = write(tmp_path, "a.png 0 1 1")
    with pytest.raises(DataError, match=r"gives labels as numbers.* write a schema file"):
        list(label_columns(source))


def test_numbers_need_heads_that_take_them(tmp_path: Path) -> None:
    two = Schema(
        name="two",
        heads=tuple(
            Head(name=name, kind=HeadKind.LABELS, labels=("x", "y")) for name in ("a", "b")
        ),
    )
    with pytest.raises(DataError, match="neither choice heads alone nor one labels head"):
        read_labelled(write(tmp_path, "a.png 0 1"), two)


def test_a_plate_of_the_prior_systems(tmp_path: Path) -> None:
    schema = us_plate()
    numbers = [0] * len(schema.heads)
    numbers[-1] = -1
    crops = read_labelled(write(tmp_path, f"a.png {' '.join(map(str, numbers))}"), schema)
    assert [int(column[0]) for column in crops.targets.choices.values()] == numbers


# ---- regions ----------------------------------------------------------------------------------


def test_regions_count_from_one_and_include_both_ends(tmp_path: Path) -> None:
    image = np.arange(20 * 30 * 3, dtype=np.uint32).astype(np.uint8).reshape(20, 30, 3)
    cv2.imwrite(str(tmp_path / "p.png"), image)
    source = write(tmp_path, "p.png cat 1 1 30 20 1 0 0", "p.png bus 5 2 10 9 0 -1 1")
    crops = read_labelled(source, ANIMALS)
    np.testing.assert_array_equal(crops.image(0), image)
    np.testing.assert_array_equal(crops.image(1), image[1:9, 4:10])
    assert crops.targets.choices["kind"].tolist() == [0, 1]
    assert crops.targets.labels["traits"].tolist() == [[1, 0, 0], [0, -1, 1]]
    assert list(crops.texts) == ["tail,cat", "wheel,bus"]
    other = read_labelled(write(tmp_path, "p.png cat 1 1 30 19 1 0 0"), ANIMALS)
    assert other.digest != crops.take(np.array([0])).digest  # another region, another sample


def test_the_class_may_have_no_head(tmp_path: Path) -> None:
    alone = Schema(name="traits", heads=ANIMALS.heads[:1])
    crops = read_labelled(write(tmp_path, "a.png any 1 1 8 6 1 0 1"), alone)
    assert crops.targets.labels["traits"].tolist() == [[1, 0, 1]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.png cat 1 1 9 6 1 0 0", "the box 1 1 9 6 is not inside the picture; expected x1 y1"),
        ("a.png cat 1 1 8 7 1 0 0", "within 1 1 8 6"),
        ("a.png cat 5 1 4 6 1 0 0", "is not inside the picture"),
        ("a.png cat 1 1 3 6 1 0 0", "smaller than 4 px a side"),
        ("a.png cat 0 0 8 6 1 0 0", "counted from 1"),
        ("a.png cat 0 0 0 0 1 0 0", "counted from 1"),
        ("a.png cat 1 1 8 6 1 0", "and 3 numbers, one for each label of 'traits'"),
        ("a.png cat 1 1 8 6 1 0 0 1", "and 3 numbers"),
        ("a.png cat 1 1 8 6 1 0 2", "attributes must be 0, 1, or -1 where unknown"),
        ("a.png dog 1 1 8 6 1 0 0", "head 'kind' has no label 'dog'; it has cat bus"),
    ],
)
def test_regions_that_do_not_fit_are_named(tmp_path: Path, line: str, message: str) -> None:
    source = write(tmp_path, "b.png bus 1 1 8 6 0 0 1", line)
    told = failure(source, ANIMALS)
    assert f"{source}:2: " in told
    assert message in told


# ---- what is not read -------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", " "])
def test_a_list_that_is_split_otherwise_is_told_so(tmp_path: Path, delimiter: str) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    path = tmp_path / "list.csv"
    path.write_text(f"a.png{delimiter}cat\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"list\.csv:1: .*split at '{delimiter}'.*path,label"):
        read_labelled(path, ANIMALS)


def test_pictures_of_a_tree_that_are_not_read_are_noted(tmp_path: Path) -> None:
    for name in ("cat/a.png", "cat/more/b.png", "root.png", "cat/c.tif"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    schema = Schema(
        name="s", heads=(Head(name="kind", kind=HeadKind.CHOICE, labels=("cat", "bus")),)
    )
    crops = read_labelled(tmp_path, schema)
    assert len(crops) == 1
    assert crops.note.startswith("left out 3 pictures (cat/c.tif, cat/more/b.png, root.png); ")
    for name in ("cat/more/b.png", "root.png", "cat/c.tif"):
        (tmp_path / name).unlink()
    assert read_labelled(tmp_path, schema).note == ""
