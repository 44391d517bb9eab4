"""The audit with a trained network, and on real pictures."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.slimming import COLOURS
from train.audit.cli import main

DATA = Path(os.environ.get("HEADLIGHT_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.fixture
def flipped(lamps: Path, tmp_path: Path) -> tuple[Path, set[str]]:
    """The list of the lamps ``val``, 3 % with one wrong label, and the paths of these."""
    random = np.random.default_rng(0)
    lines = (lamps / "val" / "labels.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    wrong = random.choice(len(rows), round(0.03 * len(rows)), replace=False)
    for index in wrong:
        colour, side = rows[index][1].split(",")
        others = [name for name in COLOURS if name != colour]
        other_side = "right" if side == "left" else "left"
        rows[index][1] = random.choice([f"{others[0]},{side}", f"{colour},{other_side}"])
    target = tmp_path / "flipped.tsv"
    folder = lamps / "val"
    target.write_text("".join(f"{folder / path}\t{text}\n" for path, text in rows), "utf-8")
    return target, {str(folder / rows[index][0]) for index in wrong}


def suspects_in(folder: Path) -> list[dict[str, str]]:
    with (folder / "suspects.tsv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def test_flipped_labels_are_found_and_can_be_left_out(
    lamps_checkpoint: Path, flipped: tuple[Path, set[str]], tmp_path: Path
) -> None:
    source, wrong = flipped
    options = [str(source), "--checkpoint", str(lamps_checkpoint)]
    assert main([*options, "--output", str(tmp_path / "first")]) == 0
    found = suspects_in(tmp_path / "first")
    first = {row["path"] for row in found[: round(0.06 * 96)]}
    assert len(first & wrong) >= 0.8 * len(wrong)
    assert wrong <= {row["path"] for row in found if row["likely"] == "yes"}
    page = (tmp_path / "first" / "audit.html").read_text(encoding="utf-8")
    assert "Labels probably wrong" in page
    again = [*options, "--exclude", str(tmp_path / "first" / "suspects.tsv")]
    assert main([*again, "--output", str(tmp_path / "second")]) == 0
    report = json.loads((tmp_path / "second" / "audit.json").read_text(encoding="utf-8"))
    assert report["excluded"] == len(found)
    assert report["suspects"] == []


def test_suggestions_are_the_labels_before_the_flip(
    lamps_checkpoint: Path, lamps: Path, flipped: tuple[Path, set[str]], tmp_path: Path
) -> None:
    source, wrong = flipped
    assert (
        main(
            [str(source), "--checkpoint", str(lamps_checkpoint), "--output", str(tmp_path / "out")]
        )
        == 0
    )
    lines = (lamps / "val" / "labels.tsv").read_text(encoding="utf-8").splitlines()
    truth = {str(lamps / "val" / path): text for path, text in (line.split("\t") for line in lines)}
    suggested = {row["path"]: row["suggested"] for row in suspects_in(tmp_path / "out")}
    assert {path: suggested[path] for path in wrong} == {path: truth[path] for path in wrong}


def test_data_of_the_training_is_named(
    lamps_checkpoint: Path, lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [str(lamps / "train"), "--validation", str(lamps / "val")]
    options += ["--checkpoint", str(lamps_checkpoint), "--output", str(tmp_path / "out")]
    assert main(options) == 0
    talk = capsys.readouterr().err
    assert f"{lamps / 'train'} was training data" in talk
    assert f"{lamps / 'val'} was training data" not in talk


def test_checkpoint_of_another_schema_is_refused(
    lamps_checkpoint: Path, lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [str(lamps / "train"), "--schema", "derive:labels"]
    options += ["--checkpoint", str(lamps_checkpoint), "--output", str(tmp_path / "out")]
    assert main(options) == 1
    assert "was trained for the schema" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.real
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real pictures in {DATA}")
def test_real_plates_leak_nothing(tmp_path: Path) -> None:
    plates = DATA / "plates-cn"
    options = [str(plates / "jiangsu" / "train.tsv"), str(plates / "ccpd" / "train.tsv")]
    options += ["--validation", str(plates / "jiangsu" / "val.tsv")]
    options += [str(plates / "ccpd" / "val.tsv"), "--schema", "cn-plate", "--strict"]
    assert main([*options, "--output", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "audit.json").read_text(encoding="utf-8"))
    # Splits are by a hash of the plate, so no picture and no text is in two of them.
    assert report["crops"] == {"train": 613 + 499, "validation": 86 + 108}
    assert report["duplicates"]["across_splits"] == 0
    assert [item["crops"] for item in report["readings_in_several_splits"]] == [0]
    # The same plate photographed twice is found inside the training data, and read the same.
    listed = report["duplicates"]["listed"]
    assert len(listed) >= 3
    assert not any(pair["different_labels"] for pair in listed)
