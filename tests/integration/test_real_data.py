"""The real pictures beside the checkout parse without a bad row."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.labelled import read_labelled
from runtime.builtin_schemas import cn_plate, us_plate
from runtime.schema import HeadKind
from train.labels import resolve_schema

DATA = Path(os.environ.get("HEADLIGHT_DATA", Path(__file__).parents[3] / "shared" / "data"))
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no real pictures in {DATA}"),
]


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("jiangsu/train", 613),
        ("jiangsu/val", 86),
        ("jiangsu/test", 188),
        ("ccpd/train", 499),
        ("ccpd/val", 108),
    ],
)
def test_chinese_plates(name: str, count: int) -> None:
    schema = cn_plate()
    crops = read_labelled(DATA / "plates-cn" / f"{name}.tsv", schema)
    assert len(crops) == count
    blank = schema.head("char_8").labels.index("_")
    assert (crops.targets.choices["char_8"] == blank).all()  # no real plate has 8 characters
    assert (crops.targets.choices["colour"] == -1).all()  # the lists give texts alone


@pytest.mark.parametrize(("name", "count"), [("train", 515), ("val", 54)])
def test_american_plates(name: str, count: int) -> None:
    path = DATA / "plates-us" / f"{name}.tsv"
    crops = read_labelled(path, us_plate())
    assert len(crops) == count
    # The schema has no I and no O: what the list writes so is read as 1 and 0.
    assert any(set("IO") & set(text) for text in crops.texts)


@pytest.mark.parametrize("rule", ["derive:labels", "derive:colour,garment"])
def test_clothing_as_a_list(rule: str) -> None:
    lists = [DATA / "clothing" / f"{part}.tsv" for part in ("train", "val", "test")]
    schema = resolve_schema(rule, lists)
    crops = read_labelled(lists[2], schema)
    assert len(crops) == 689
    if rule == "derive:labels":
        (head,) = schema.heads
        assert head.kind is HeadKind.LABELS
        assert (crops.targets.labels["labels"].sum(1) == 2).all()
    else:
        counts = Counter(crops.targets.choices["colour"].tolist())
        assert -1 not in counts
        assert len(counts) > 5


def test_clothing_as_a_tree() -> None:
    tree = DATA / "clothing" / "images"
    lists = [DATA / "clothing" / f"{part}.tsv" for part in ("train", "val", "test")]
    for rule in ("derive:labels", "derive:colour,garment"):
        assert resolve_schema(rule, [tree]) == resolve_schema(rule, lists)
    schema = resolve_schema("derive:colour,garment", [tree])
    crops = read_labelled(tree, schema)
    assert len(crops) == 4906 + 704 + 689
    assert len(set(crops.texts)) == 91


def test_clothing_attributes_as_a_table() -> None:
    table = DATA / "clothing" / "attributes.tsv"
    schema = resolve_schema("derive:gender,season,usage", [table])
    assert [head.size for head in schema.heads] == [5, 4, 6]
    crops = read_labelled(table, schema)
    assert len(crops) == 6299
    assert crops.texts[0] == "Women,Fall,Sports"
    assert Counter(crops.targets.choices["usage"].tolist())[-1] == 1  # one cell is NA
    assert crops.note.startswith("labels from the columns gender, season, usage; not used: colour")
