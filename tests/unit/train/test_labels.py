"""Schemas derived from labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.builtin_schemas import cn_plate
from runtime.errors import DataError, SchemaError
from runtime.schema import HeadKind
from tests.training import write_schema
from train.labels import resolve_schema


def write_labels(folder: Path, *labels: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{len(list(folder.iterdir()))}.tsv"
    rows = "".join(f"{i}.png\t{label}\n" for i, label in enumerate(labels))
    path.write_text(rows, encoding="utf-8")
    return path


def test_built_in_names_and_files_need_no_data(tmp_path: Path) -> None:
    assert resolve_schema("cn-plate", ()) == cn_plate()
    assert resolve_schema(str(write_schema(tmp_path / "lamps.json")), ()).name == "lamps"
    with pytest.raises(SchemaError, match="neither built in"):
        resolve_schema("plates", ())


def test_one_labels_head_of_all_parts(tmp_path: Path) -> None:
    train = write_labels(tmp_path, "black,jeans", "blue, jeans", "-", "red|shirt")
    validation = write_labels(tmp_path, "green,jeans")
    schema = resolve_schema("derive:labels", [train, validation])
    (head,) = schema.heads
    assert (head.name, head.kind) == ("labels", HeadKind.LABELS)
    assert head.labels == ("black", "blue", "green", "jeans", "red", "shirt")


def test_one_choice_head_per_part(tmp_path: Path) -> None:
    train = write_labels(tmp_path, "black,jeans", "blue, shirt", ",shirt")
    validation = write_labels(tmp_path, "green,jeans")
    schema = resolve_schema("derive:colour, garment", [train, validation])
    assert [(head.name, head.kind) for head in schema.heads] == [
        ("colour", HeadKind.CHOICE),
        ("garment", HeadKind.CHOICE),
    ]
    assert schema.heads[0].labels == ("black", "blue", "green")
    assert schema.heads[1].labels == ("jeans", "shirt")


def test_a_tree_gives_the_same_schema_as_a_list(tmp_path: Path) -> None:
    for folder in ("black_jeans", "blue_shirt"):
        (tmp_path / "tree" / folder).mkdir(parents=True)
        (tmp_path / "tree" / folder / "1.jpg").touch()
    listed = write_labels(tmp_path / "lists", "black,jeans", "blue,shirt")
    for rule in ("derive:labels", "derive:colour,garment"):
        assert resolve_schema(rule, [tmp_path / "tree"]) == resolve_schema(rule, [listed])


def test_a_plus_makes_a_labels_head(tmp_path: Path) -> None:
    source = write_labels(tmp_path, "blue,night|wet,x", "red,-,y", "red,dry,")
    schema = resolve_schema("derive:colour,weather+ , mark", [source])
    assert [(head.name, head.kind, head.labels) for head in schema.heads] == [
        ("colour", HeadKind.CHOICE, ("blue", "red")),
        ("weather", HeadKind.LABELS, ("dry", "night", "wet")),
        ("mark", HeadKind.CHOICE, ("x", "y")),
    ]
    tags = resolve_schema("derive:tags+", [write_labels(tmp_path, "a,b", "b|c", "-")])
    assert (tags.heads[0].name, tags.heads[0].labels) == ("tags", ("a", "b", "c"))
    with pytest.raises(SchemaError, match=r"heads \['weather'\] have fewer"):
        resolve_schema("derive:colour,weather+", [write_labels(tmp_path, "blue,-", "red,")])


def test_columns_of_a_table_are_found_by_name(tmp_path: Path) -> None:
    table = tmp_path / "t.tsv"
    table.write_text(
        "path\tage\ttags=new\ttags=old\tcolour\na.png\t1\t0\t1\tred\nb.png\t2\t1\t0\tNA\n"
        "c.png\t3\t0\t0\tblue\n",
        encoding="utf-8",
    )
    schema = resolve_schema("derive:colour,tags+", [table])
    assert [head.labels for head in schema.heads] == [("blue", "red"), ("new", "old")]
    with pytest.raises(DataError, match="none of the columns"):
        resolve_schema("derive:shape", [table])


def test_rows_of_too_many_parts_are_left_to_the_reader(tmp_path: Path) -> None:
    source = write_labels(tmp_path, "black,jeans", "blue", "a,b,c", "red,shirt")
    schema = resolve_schema("derive:colour,garment", [source])
    assert {head.name: head.labels for head in schema.heads} == {
        "colour": ("black", "blue", "red"),
        "garment": ("jeans", "shirt"),  # the second row leaves it out
    }


def test_labels_of_too_many_parts_are_all_named(tmp_path: Path) -> None:
    source = write_labels(tmp_path, "a,b,c", "a,b,c,d")
    with pytest.raises(DataError) as caught:
        resolve_schema("derive:colour,garment", [source])
    assert str(caught.value).splitlines() == [
        "all 2 labels have more than 2 parts, one for each of ['colour', 'garment']:",
        f"  {source}:1: 'a,b,c'",
        f"  {source}:2: 'a,b,c,d'",
    ]


def test_what_gives_no_schema(tmp_path: Path) -> None:
    same = write_labels(tmp_path, "black,jeans", "black,shirt")
    with pytest.raises(SchemaError, match=r"heads \['colour'\] have fewer than two"):
        resolve_schema("derive:colour,garment", [same])
    pairs = write_labels(tmp_path, "a,b", "b,a")
    with pytest.raises(SchemaError, match="not an identifier"):
        resolve_schema("derive:the colour,garment", [pairs])
    with pytest.raises(SchemaError, match="names used twice"):
        resolve_schema("derive:garment,garment", [pairs])
    with pytest.raises(DataError, match="no labels in"):
        resolve_schema("derive:labels", [write_labels(tmp_path)])
    with pytest.raises(DataError, match="cannot be read"):
        resolve_schema("derive:labels", [tmp_path / "nowhere"])
