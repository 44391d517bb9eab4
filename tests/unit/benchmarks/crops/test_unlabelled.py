"""Pictures without labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.crops.unlabelled import unlabelled_rows
from benchmarks.labelled import check_rows
from runtime.errors import DataError
from tests.slimming import SCHEMA, write_lamps


def names(source: Path) -> list[str]:
    rows = unlabelled_rows(source)
    return [path.relative_to(rows.pictures.homes[0]).as_posix() for path in rows.pictures]


def test_all_pictures_of_a_folder_count_in_the_order_of_their_paths(tmp_path: Path) -> None:
    for name in ("b/2.JPG", "a.png", "b/1.png", "b/c/0.bmp", "notes.txt", "b/labels.tsv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert names(tmp_path) == ["a.png", "b/1.png", "b/2.JPG", "b/c/0.bmp"]


def test_a_list_names_pictures_and_its_labels_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("x 1.png\n\nsub/2.png\tred,left\n", encoding="utf-8")
    assert names(path) == ["x 1.png", "sub/2.png"]
    rows = unlabelled_rows(path)
    assert [rows.where(row) for row in range(2)] == [f"{path}:1", f"{path}:3"]


def test_every_label_is_missing(tmp_path: Path) -> None:
    source = write_lamps(tmp_path / "lamps", 3, seed=0)
    crops = check_rows(source, unlabelled_rows(source), SCHEMA)
    assert all(np.array_equal(crops.targets.choices[h.name], [-1] * 3) for h in SCHEMA.heads)
    assert list(crops.texts) == ["", "", ""]


def test_what_holds_no_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures; expected a folder of"):
        unlabelled_rows(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        unlabelled_rows(tmp_path / "absent")
    (tmp_path / "list").write_text("absent.png\n", encoding="utf-8")
    with pytest.raises(DataError, match="1 of 1 rows cannot be used"):
        check_rows(tmp_path, unlabelled_rows(tmp_path / "list"), SCHEMA)
