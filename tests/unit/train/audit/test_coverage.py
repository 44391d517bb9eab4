"""Counts of labels, and which are rare."""

from __future__ import annotations

from pathlib import Path

from runtime.schema import Head, HeadKind, Schema
from tests.unit.train.audit.crops import scene, survey_of
from train.audit.coverage import cover

SCHEMA = Schema(
    name="gate",
    heads=(
        Head(name="colour", kind=HeadKind.CHOICE, labels=("blue", "red", "green", "grey")),
        Head(name="extras", kind=HeadKind.LABELS, labels=("dirty", "night")),
    ),
)


def test_counts_per_split_and_head(tmp_path: Path) -> None:
    train = [("train-0.png", "blue")] * 3 + [("train-0.png", ",night")]
    survey = survey_of(
        tmp_path,
        SCHEMA,
        train=[(scene(0), "red,-"), *train],
        test=[(scene(1), "green,dirty|night"), (scene(2), "blue")],
    )
    colour, extras = cover(survey)
    assert colour.counts.tolist() == [[3, 1, 0, 0], [1, 0, 1, 0]]
    assert colour.given.tolist() == [4, 2]
    assert extras.counts.tolist() == [[0, 1], [1, 1]]
    assert extras.given.tolist() == [2, 1]
    assert [(item.label, item.count, item.reason) for item in colour.rare] == [
        ("green", 0, "never seen, but 1 elsewhere"),
        ("grey", 0, "never seen"),
        ("red", 1, "fewer than 5"),
        ("blue", 3, "fewer than 5"),
    ]
    assert colour.to_object(survey.splits)["counts"]["green"] == {"train": 0, "test": 1}


def test_shares_below_one_percent_are_rare(tmp_path: Path) -> None:
    rows = [("train-0.png", "blue")] * 1000 + [("train-0.png", "red")] * 9
    rows += [("train-0.png", "green")] * 11 + [("train-0.png", "grey")] * 10
    survey = survey_of(tmp_path, SCHEMA, train=[(scene(0), "blue"), *rows])
    colour, extras = cover(survey)
    # 1 % of 1031 crops is 10.31
    assert [(item.label, item.reason) for item in colour.rare] == [
        ("red", "less than 1%"),
        ("grey", "less than 1%"),
    ]
    assert extras.rare == []  # nobody gave a label: nothing to say
