"""What an audit writes can be read again."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from benchmarks.labelled import read_labelled
from runtime.errors import DataError
from runtime.schema import load_schema
from tests.unit.train.audit.crops import SCHEMA, scene, survey_of, write_list
from train.audit.label_issues import Suspect
from train.audit.lists import read_excluded, write_lists, write_suspects
from train.audit.survey import Survey, take_survey


def suspect(crop: int, *, likely: bool = True) -> Suspect:
    return Suspect(
        crop=crop,
        head="colour",
        given="red",
        suggested="blue",
        column="blue,night",
        score=0.01234,
        likely=likely,
    )


def gate(folder: Path) -> Survey:
    return survey_of(
        folder,
        train=[(scene(0), "blue"), ("none.png", "red"), (scene(1), "red,night")],
        test=[(scene(2), "red"), (scene(3), ",-")],
    )


def test_suspects_name_path_labels_and_row(tmp_path: Path) -> None:
    survey = gate(tmp_path)
    file = tmp_path / "suspects.tsv"
    write_suspects(file, survey, [suspect(1), suspect(2, likely=False)])
    with file.open(encoding="utf-8", newline="") as stream:
        first, second = csv.DictReader(stream, delimiter="\t")
    assert first == {
        "path": str(tmp_path / "train-2.png"),
        "given": "red,night",
        "suggested": "blue,night",
        "head": "colour",
        "given_label": "red",
        "suggested_label": "blue",
        "score": "0.0123",
        "likely": "yes",
        "row": f"{tmp_path / 'train.tsv'}:3",
    }
    assert (second["likely"], second["row"]) == ("no", f"{tmp_path / 'test.tsv'}:1")


def test_edited_suspects_are_left_out_of_the_next_survey(tmp_path: Path) -> None:
    survey = gate(tmp_path)
    file = tmp_path / "suspects.tsv"
    write_suspects(file, survey, [suspect(1), suspect(2)])
    head, _, kept = file.read_text(encoding="utf-8").splitlines()
    file.write_text(f"{head}\n{kept}\n", encoding="utf-8")  # a person took the first for right
    sources = {name: [tmp_path / f"{name}.tsv"] for name in ("train", "test")}
    again = take_survey(sources, SCHEMA, read_excluded(file))
    assert list(again.texts) == ["blue", "red,night", ",-"]


@pytest.mark.parametrize("content", ["", "path\tgiven\na\tb\n", "path\trow\na\n", None])
def test_other_files_are_refused(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "suspects.tsv"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"suspects\.tsv"):
        read_excluded(file)


def test_lists_hold_usable_rows_with_and_without_suspects(tmp_path: Path) -> None:
    survey = gate(tmp_path / "data")
    folder = tmp_path / "lists"
    missing = write_lists(folder, survey, [suspect(1), suspect(2, likely=False)])
    assert missing == {"train": None, "test": None}
    found = {path.stem: read_labelled(path, SCHEMA) for path in sorted(folder.iterdir())}
    texts = {name: list(crops.texts) for name, crops in found.items()}
    assert texts == {
        "train": ["blue", "red,night"],
        "train-without-suspects": ["blue"],
        "test": ["red", ",-"],
        "test-without-suspects": ["red", ",-"],
    }
    assert (found["train"].image(1) == scene(1)).all()


def test_without_suspects_one_list_a_split(tmp_path: Path) -> None:
    write_lists(tmp_path / "lists", gate(tmp_path / "data"), [])
    assert sorted(path.name for path in (tmp_path / "lists").iterdir()) == ["test.tsv", "train.tsv"]


def test_regions_cannot_be_listed(tmp_path: Path) -> None:
    write_list(tmp_path, "whole", [(scene(0), "blue")])
    boxed = tmp_path / "boxed.txt"
    boxed.write_text("whole-0.png blue 1 1 40 30 1 0\n", encoding="utf-8")
    survey = take_survey({"train": [boxed], "test": [tmp_path / "whole.tsv"]}, SCHEMA)
    missing = write_lists(tmp_path / "lists", survey, [])
    assert missing == {"train": f"{boxed}: regions of pictures", "test": None}
    assert [path.name for path in (tmp_path / "lists").iterdir()] == ["test.tsv"]


def test_labels_that_a_label_column_cannot_tell_become_a_table(tmp_path: Path) -> None:
    write_list(tmp_path, "whole", [(scene(k), "blue") for k in range(4)])
    table = tmp_path / "table.csv"
    rows = ["0.png,blue,1,", "1.png,,-1,0", "2.png,red,0,1", "3.png,red,-1,-1"]
    lines = ["path,colour,night,dirty", *(f"whole-{row}" for row in rows)]
    table.write_text("\n".join(lines), encoding="utf-8")
    survey = take_survey({"train": [table]}, SCHEMA)
    assert write_lists(tmp_path / "lists", survey, [suspect(3)]) == {"train": None}
    again = read_labelled(tmp_path / "lists" / "train.tsv", SCHEMA)
    assert again.targets.choices["colour"].tolist() == [0, -1, 1, 1]
    assert again.targets.labels["extras"].tolist() == [[-1, 1], [0, -1], [1, 0], [-1, -1]]
    assert [path.name for path in again.paths] == [f"whole-{k}.png" for k in range(4)]
    fewer = read_labelled(tmp_path / "lists" / "train-without-suspects.tsv", SCHEMA)
    assert fewer.targets.labels["extras"].tolist() == [[-1, 1], [0, -1], [1, 0]]


def test_a_labels_head_without_labels_stays_without(tmp_path: Path) -> None:
    write_list(tmp_path, "whole", [(scene(0), "blue"), (scene(1), "blue")])
    table = tmp_path / "table.csv"
    table.write_text(
        "path,colour,night,dirty\nwhole-0.png,blue,-1,-1\nwhole-1.png,red,0,0\n", encoding="utf-8"
    )
    survey = take_survey({"train": [table]}, SCHEMA)
    assert list(survey.texts) == ["blue", "red,-"]
    write_lists(tmp_path / "lists", survey, [])
    again = read_labelled(tmp_path / "lists" / "train.tsv", SCHEMA)
    assert list(again.texts) == ["blue", "red,-"]
    assert again.targets.labels["extras"].tolist() == [[-1, -1], [0, 0]]


def test_numbers_that_spell_no_text_become_a_table(tmp_path: Path) -> None:
    plates = load_schema("cn-plate")
    write_list(tmp_path, "whole", [(scene(0), "blue"), (scene(1), "blue")])
    numbers = ["0 " * 9 + "0", "3 -1" + " 1" * 8]
    lines = [f"whole-{k}.png {row}\n" for k, row in enumerate(numbers)]
    (tmp_path / "numbers.txt").write_text("".join(lines), encoding="utf-8")
    survey = take_survey({"train": [tmp_path / "numbers.txt"]}, plates)
    write_lists(tmp_path / "lists", survey, [])
    again = read_labelled(tmp_path / "lists" / "train.tsv", plates)
    found = [again.targets.choices[head.name].tolist() for head in plates.heads]
    assert [list(row) for row in zip(*found, strict=True)] == [[0] * 10, [3, -1, *[1] * 8]]
