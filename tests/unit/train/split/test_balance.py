"""How far parts are from what was asked, by hand."""

from __future__ import annotations

import numpy as np

from train.audit.coverage import HeadCoverage
from train.split.balance import class_rows, missing_classes, part_rows, to_object
from train.split.groups import Groups
from train.split.parts import Assignment

SIZE = HeadCoverage(
    head="size",
    labels=["s", "m", "l", "never"],
    # Of all 20: s 60 %, m 25 %, l 15 %.
    counts=np.array([[7, 3, 0, 0], [4, 0, 1, 0], [1, 2, 2, 0]]),
    given=np.array([10, 5, 5]),
    rare=[],
)


def test_the_class_furthest_off_is_named_with_its_difference() -> None:
    (row,) = class_rows([SIZE])
    assert row == {
        "head": "size",
        "train": "-15.0 l",
        "val": "-25.0 m",
        "test": "-40.0 s",
        "missing": "train: l; val: m",
    }
    assert missing_classes(SIZE) == {"train": ["l"], "val": ["m"], "test": []}
    assert to_object([SIZE])["size"]["counts"]["val"] == {"s": 4, "m": 0, "l": 1, "never": 0}


def test_parts_without_labels_say_so() -> None:
    labels = [f"c{k}" for k in range(9)]
    counts = np.array([[1] * 9, [0] * 9, [9, *[0] * 8]])
    head = HeadCoverage("kind", labels, counts, np.array([9, 0, 9]), [])
    (row,) = class_rows([head])
    assert row["val"] == "no labels"
    assert row["missing"] == "test: c1, c2, c3, c4, c5, c6 and 2 more"
    none = HeadCoverage("none", labels, counts * 0, np.zeros(3, np.int64), [])
    assert class_rows([none]) == []


def test_parts_are_counted_in_samples_and_groups() -> None:
    groups = Groups(np.array([0, 0, 1, 2]), np.zeros((3, 16), np.uint8))
    part, nothing = np.array([0, 0, 0, 2]), np.zeros(0, np.int64)
    rows = part_rows(Assignment(part, part > 5, nothing), groups, (0.8, 0.1, 0.1))
    assert rows[0] == {
        "part": "train", "asked": "80.0%", "got": "75.0%", "samples": "3", "groups": "2",
    }  # fmt: skip
    assert [row["samples"] for row in rows] == ["3", "0", "1"]
    kept = part_rows(Assignment(part, part > 1, nothing), groups, (0.8, 0.1, 0.1))
    assert [row["kept from --like"] for row in kept] == ["0", "0", "1"]
