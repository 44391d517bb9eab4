"""Tables with a header row."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.labelled import label_columns, read_labelled
from runtime.errors import DataError
from runtime.schema import Head, HeadKind, Reading, Schema
from tests.unit.benchmarks.crops.test_lists import CODES
from tests.unit.benchmarks.test_labelled import COLOURS, TAGS, failure, picture

MIXED = Schema(
    name="mixed",
    heads=(
        Head(name="colour", kind=HeadKind.CHOICE, labels=("black", "blue")),
        Head(name="tags", kind=HeadKind.LABELS, labels=("night", "wet")),
        Head(name="marks", kind=HeadKind.LABELS, labels=("night", "torn")),
    ),
)


def write(folder: Path, text: str, name: str = "table.csv") -> Path:
    for image in ("a.png", "b.png", "c.png"):
        picture(folder / image)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_columns_are_found_by_name(tmp_path: Path, delimiter: str, bom: str) -> None:
    rows = [
        ["id", "garment", "Path", "price", "colour"],
        ["1", "jeans", "a.png", "3", "black"],
        ["2", "", "b.png", "4", "blue"],
        ["3", "shirt", "c.png", "5", "NA"],
    ]
    text = bom + "\r\n".join(delimiter.join(row) for row in rows) + "\r\n\r\n"
    crops = read_labelled(write(tmp_path, text), COLOURS)
    assert [path.name for path in crops.paths] == ["a.png", "b.png", "c.png"]
    assert crops.targets.choices["colour"].tolist() == [0, 1, -1]
    assert crops.targets.choices["garment"].tolist() == [0, -1, 1]
    assert list(crops.texts) == ["black,jeans", "blue", ",shirt"]
    assert crops.note == "labels from the columns garment, colour; not used: id, price"


@pytest.mark.parametrize("first", ["path", "image", "File", "name", "filename"])
def test_the_first_column_may_have_several_names(tmp_path: Path, first: str) -> None:
    crops = read_labelled(write(tmp_path, f"{first},colour\na.png,blue\n"), COLOURS)
    assert crops.targets.choices["colour"].tolist() == [1]


def test_quoted_cells(tmp_path: Path) -> None:
    picture(tmp_path / "a, b.png")
    source = write(tmp_path, 'path,colour,note\n"a, b.png",blue,"one\ntwo ""x"""\na.png,red,\n')
    told = failure(source, COLOURS)
    assert f"{source}:4: head 'colour' has no label 'red'" in told  # the line, not the row
    assert "1 of 2 rows" in told


def test_labels_heads_by_name_and_by_zeros_and_ones(tmp_path: Path) -> None:
    head = "path\ttags\tmarks=torn\tmarks=night\n"
    text = f"{head}a.png\twet|night\t1\t\nb.png\t-\t0\t1\nc.png\t\t-1\t0\n"
    crops = read_labelled(write(tmp_path, text, "table.tsv"), MIXED)
    assert crops.targets.labels["tags"].tolist() == [[1, 1], [0, 0], [-1, -1]]
    assert crops.targets.labels["marks"].tolist() == [[-1, 1], [1, 0], [0, -1]]
    assert list(crops.texts) == [",night|wet,torn", ",-,night", ",,-"]


def test_labels_alone_name_columns_of_the_only_labels_head(tmp_path: Path) -> None:
    crops = read_labelled(write(tmp_path, "file,jeans,black,other\na.png,1,0,7\n"), TAGS)
    assert crops.targets.labels["tags"].tolist() == [[0, -1, 1]]
    with pytest.raises(DataError, match="none of the columns"):  # two labels heads: ambiguous
        read_labelled(write(tmp_path, "file,night,torn\na.png,1,0\n"), MIXED)


def test_readings_and_their_heads(tmp_path: Path) -> None:
    text = "path,code,colour\na.png,B1,red\nb.png,A,blue\n"
    crops = read_labelled(write(tmp_path, text), CODES)
    assert crops.targets.choices["first"].tolist() == [1, 0]
    assert crops.targets.choices["second"].tolist() == [1, 2]
    single = read_labelled(write(tmp_path, "path,second\na.png,1\n"), CODES)
    assert single.targets.choices["second"].tolist() == [1]
    assert single.targets.choices["first"].tolist() == [-1]
    both = write(tmp_path, "path,code,second\na.png,B1,0\n")
    assert "second: the labels of ['second'] are given a second time" in failure(both, CODES)


def test_a_label_of_the_name_na_is_one(tmp_path: Path) -> None:
    head = Head(name="use", kind=HeadKind.CHOICE, labels=("NA", "work"))
    crops = read_labelled(write(tmp_path, "path,use\na.png,NA\n"), Schema(name="s", heads=(head,)))
    assert crops.targets.choices["use"].tolist() == [0]


def test_a_column_label_is_a_label_column(tmp_path: Path) -> None:
    crops = read_labelled(write(tmp_path, 'path,label\na.png,"blue,shirt"\n'), COLOURS)
    assert crops.targets.choices["garment"].tolist() == [1]
    assert list(crops.texts) == ["blue,shirt"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,size\na.png,3\n", "none of the columns ['size'] is called like a head or reading"),
        ("path,colour,colour\na.png,blue,blue\n", "two columns are called ['colour']"),
        ('path,colour\na.png,"blue"x\n', "no valid CSV"),
        ("path,colour\ra.png,blue\r", "end lines with LF or CRLF"),
        ("path," + "x" * 200_000 + "\na.png,blue\n", "field larger than"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    source = write(tmp_path, text)
    told = failure(source, COLOURS)
    assert told.startswith(str(source))
    assert message in told


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,tags=dry,colour\na.png,1,blue\n", "'tags=dry': the head 'tags' has no such label"),
        ("path,tags=wet\na.png,yes\n", "'tags=wet' is 'yes'; expected 0, 1, or -1"),
        ("path,tags,tags=wet\na.png,wet,1\n", "the labels of ['tags'] are given a second time"),
        ("path,colour\na.png,blue,1\n", "3 cells, the header has 2"),
        ("path,colour\na.png,\n", "no label; expected some of"),
        ("path,colour\nnone.png,blue\n", "No such file"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, text: str, message: str) -> None:
    source = write(tmp_path, text)
    told = failure(source, MIXED)
    assert f"{source}:2: " in told
    assert message in told


def test_a_list_whose_first_picture_is_called_path_is_no_table(tmp_path: Path) -> None:
    for name in ("path", "name.png"):
        picture(tmp_path / "a.png")
        (tmp_path / name).write_bytes((tmp_path / "a.png").read_bytes())
        source = write(tmp_path, f"{name}\tblue,shirt\n", "list.tsv")
        assert len(read_labelled(source, COLOURS)) == 1
    labels = Schema(
        name="s", heads=(Head(name="h", kind=HeadKind.CHOICE, labels=("path", "road")),)
    )
    assert len(read_labelled(write(tmp_path, "a.png\tpath\n", "list.tsv"), labels)) == 1


def test_label_columns_are_put_together_by_name(tmp_path: Path) -> None:
    text = "path,use,tags=wet,tags=dry,colour\na.png,work,1,1,blue\nb.png,NA,0,0,\n"
    source = write(tmp_path, text)
    found = list(label_columns(source, ["colour", "tags", "use"]))
    assert found == [(f"{source}:2", "blue,wet|dry,work"), (f"{source}:3", ",wet|dry,")]
    with pytest.raises(DataError, match="none of the columns"):
        list(label_columns(source, ["shape"]))


def test_a_reading_of_a_table_is_checked(tmp_path: Path) -> None:
    reading = Reading(name="code", heads=("first", "second"), blank="_")
    assert CODES.readings == (reading,)
    source = write(tmp_path, "path,code\na.png,XY\n")
    assert "'XY' does not fit the reading 'code'" in failure(source, CODES)
