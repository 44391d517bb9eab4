"""The same picture in two lists is told by its place, and lists by their digests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.labelled import read_labelled, scan_rows
from tests.unit.train.audit.crops import SCHEMA, scene, write_list
from train.overlap import SeenData, overlap_warnings, picture_places, seen_in_training


def places(source: Path) -> list[str]:
    return picture_places(scan_rows(source, SCHEMA).pictures)


def test_a_picture_has_one_place_in_every_list(tmp_path: Path) -> None:
    one = write_list(tmp_path / "data", "one", [(scene(0), "blue"), (scene(1), "red")])
    (tmp_path / "link").symlink_to(tmp_path / "data")
    other = write_list(
        tmp_path / "lists",
        "other",
        [
            ("../data/one-1.png", "blue"),
            (str(tmp_path / "link" / "one-0.png"), "red,night"),
            ("one-0.png", "red"),
        ],
    )
    first, second = places(one)
    again, linked, elsewhere = places(other)
    assert (again, linked) == (second, first)
    assert len({first, second, elsewhere}) == 3


def test_regions_of_one_picture_have_places_of_their_own(tmp_path: Path) -> None:
    boxed = tmp_path / "boxed.txt"
    lines = ["a.png blue 1 1 40 30 1 0\n", "a.png blue 1 1 40 31 1 0\n"]
    boxed.write_text("".join(lines), encoding="utf-8")
    one, other = places(boxed)
    assert one != other


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """``train`` and ``val`` of four and two crops."""
    write_list(tmp_path, "train", [(scene(k), "blue") for k in range(4)])
    write_list(tmp_path, "val", [(scene(k), "red") for k in (10, 11)])
    return tmp_path


def lineage(lists: Path) -> dict[str, Any]:
    digests = {
        option: read_labelled(lists / f"{name}.tsv", SCHEMA).digest
        for option, name in (("data", "train"), ("validation", "val"))
    }
    config = {"data": [str(lists / "train.tsv")], "validation": [str(lists / "val.tsv")]}
    return {"fit": {"config": config, "inputs": digests}, "quantize": {"config": {}}}


def told(source: Path, seen: list[SeenData]) -> list[str]:
    crops = read_labelled(source, SCHEMA)
    return list(overlap_warnings(source, crops.paths, crops.digest, seen))


def test_crops_of_the_training_are_counted(lists: Path) -> None:
    seen = [*seen_in_training(lineage(lists), SCHEMA, validation=True)]
    rows = [
        ("train-1.png", "red"),
        ("val-0.png", "red"),
        (scene(30), "red"),
        ("train-2.png", "red"),
    ]
    test = write_list(lists, "test", rows)
    assert [text.split(";")[0] for text in told(test, seen)] == [
        f"warning: {test}: {count} of 4 crops are also in {role}"
        for count, role in (
            (2, "the training data"),
            (1, "the data that the operating point was fitted on"),
        )
    ]
    fair = write_list(lists, "fair", [(scene(40), "red")])
    assert told(fair, seen) == []
    # Where the point is fitted anew, the first one's data no longer matter.
    only = [*seen_in_training(lineage(lists), SCHEMA, validation=False)]
    assert len(told(test, only)) == 1
    assert told(lists / "val.tsv", only) == []


def test_copies_elsewhere_are_known_by_their_digest(lists: Path, tmp_path: Path) -> None:
    known = lineage(lists)
    (lists / "val.tsv").rename(lists / "gone.tsv")
    seen = [*seen_in_training(known, SCHEMA, validation=True)]
    copies = [(scene(k), "red") for k in (10, 11)]
    write_list(tmp_path / "copy", "val", copies)
    (text,) = told(tmp_path / "copy" / "val.tsv", seen)
    assert "2 of 2 crops are also in the data that the operating point" in text
    write_list(tmp_path / "copy", "val", copies[:1])  # other samples: nothing can be said
    assert told(tmp_path / "copy" / "val.tsv", seen) == []
