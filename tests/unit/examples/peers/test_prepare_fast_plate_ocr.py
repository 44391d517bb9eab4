from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.foreign.description import read_description
from examples.peers.prepare_fast_plate_ocr import PrepareConfig, main, prepare
from runtime.errors import ConfigError


def write_list(folder: Path, *texts: str) -> Path:
    folder.mkdir()
    for number, _ in enumerate(texts):
        cv2.imwrite(str(folder / f"{number}.png"), np.zeros((24, 94, 3), np.uint8))
    rows = [f"{number}.png\t{text}\n" for number, text in enumerate(texts)]
    (folder / "list.tsv").write_text("".join(rows), encoding="utf-8")
    return folder / "list.tsv"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rendered = write_list(tmp_path / "a", "苏E8D2K3,blue,single", "WJ1234567,white")
    real = write_list(tmp_path / "b", "粤AD12345")
    return prepare(
        PrepareConfig(
            data=(rendered, real),
            validation=(real,),
            repeats=(1, 3),
            output=tmp_path / "deep" / "out",
        )
    )


def test_rows_are_repeated_and_long_texts_left_out(folder: Path) -> None:
    assert [row["plate_text"] for row in rows_of(folder / "train.csv")] == [
        "苏E8D2K3",
        *["粤AD12345"] * 3,
    ]
    assert [row["plate_text"] for row in rows_of(folder / "val.csv")] == ["粤AD12345"]


def test_paths_lead_from_the_annotations_to_the_pictures(folder: Path) -> None:
    for row in rows_of(folder / "train.csv"):
        assert not Path(row["image_path"]).is_absolute()
        assert (folder / row["image_path"]).is_file()


def test_the_alphabet_is_the_same_in_plate_config_and_description(folder: Path) -> None:
    described = read_description(folder / "fast-plate-ocr.toml")
    labels = described.outputs.labels
    assert len(labels) == 74  # 33 of one character, 24 letters, 10 digits, 6 suffixes, the pad
    assert labels[-1] == "_"
    assert f'alphabet: "{"".join(labels)}"' in (folder / "plates.yaml").read_text(encoding="utf-8")
    assert described.outputs.unanswered == ("colour", "layers")


def test_repeats_must_fit_the_data(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one repeat"):
        PrepareConfig(data=(tmp_path,), validation=(), output=tmp_path, repeats=(1, 2))


def test_a_taken_output_is_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(folder.parents[1] / "b" / "list.tsv")
    code = main(["--data", source, "--validation", source, "--output", str(folder)])
    assert code == 1
    assert "error:" in capsys.readouterr().err
