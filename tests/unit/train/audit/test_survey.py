"""Every row is a crop or a finding."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.errors import DataError
from tests.unit.train.audit.crops import SCHEMA, scene, survey_of, write_list
from train.audit.survey import take_survey


def test_bad_rows_are_kept_with_file_line_and_fault(tmp_path: Path) -> None:
    whole = tmp_path / "whole.png"
    write_list(tmp_path, "whole", [(scene(9), "blue")])
    content = (tmp_path / "whole-0.png").read_bytes()
    (tmp_path / "short.png").write_bytes(content[: len(content) // 2])
    survey = survey_of(
        tmp_path,
        train=[
            (scene(0), "blue"),
            ("missing.png", "red"),
            (scene(1), "pink"),
            ("short.png", "pink"),
            (scene(2), "red,night"),
        ],
    )
    assert not whole.exists()
    assert list(survey.texts) == ["blue", "red,night"]
    found = [(row.split, row.fault) for row in survey.bad_rows]
    assert found == [("train", "picture"), ("train", "label"), ("train", "picture")]
    place = tmp_path / "train.tsv"
    for row, line in zip(survey.bad_rows, (2, 3, 4), strict=True):
        assert row.text.startswith(f"{place}:{line}: ")
    assert "pink" in survey.bad_rows[1].text
    assert "cut short" in survey.bad_rows[2].text
    assert "pink" in survey.bad_rows[2].text  # both faults of a row are named


def test_splits_and_sources_are_joined_in_order(tmp_path: Path) -> None:
    first = write_list(tmp_path, "a", [(scene(0), "blue"), (scene(1), "red")])
    second = write_list(tmp_path, "b", [(scene(2), "red")])
    third = write_list(tmp_path, "c", [(scene(3), "blue")])
    survey = take_survey({"train": [first, second], "validation": [], "test": [third]}, SCHEMA)
    assert survey.splits == ["train", "test"]
    assert survey.split.tolist() == [0, 0, 0, 1]
    assert survey.of_split("test").tolist() == [False, False, False, True]
    assert list(survey.rows) == [f"{first}:1", f"{first}:2", f"{second}:1", f"{third}:1"]
    assert survey.targets.choices["colour"].tolist() == [0, 1, 1, 0]
    assert [len(part) for part in survey.parts] == [2, 1, 1]
    assert (survey.paths.read(3) == scene(3)).all()


def test_facts_belong_to_their_crops(tmp_path: Path) -> None:
    rows = [("none.png", "blue"), (scene(0, height=20, width=30), "blue"), (scene(1), "red")]
    survey = survey_of(tmp_path, train=rows)
    assert survey.facts.size.tolist() == [[20, 30], [40, 80]]


def test_excluded_rows_are_left_out_everywhere(tmp_path: Path) -> None:
    file = write_list(tmp_path, "a", [(scene(k), "blue") for k in range(4)])
    survey = take_survey({"train": [file]}, SCHEMA, {f"{file}:2", f"{file}:9"})
    assert list(survey.rows) == [f"{file}:1", f"{file}:3", f"{file}:4"]
    assert survey.excluded == 1
    assert len(survey.facts) == len(survey) == len(survey.parts[0]) == 3
    assert (survey.paths.read(1) == scene(2)).all()


def test_source_without_a_usable_row_fails(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 of 1 rows"):
        survey_of(tmp_path, train=[(scene(0), "pink")])
