"""What training and validation data lack is told before the training."""

from __future__ import annotations

from pathlib import Path

from runtime.preprocess import InputSpec
from tests.unit.train.audit.crops import SCHEMA, scene, write_list
from train.data import load_sets
from train.data_checks import data_notes


def notes(training: Path, validation: Path) -> list[str]:
    crops, judged = load_sets([training], [validation], SCHEMA, InputSpec(height=16, width=16))
    return list(data_notes(SCHEMA, crops, judged, [validation]))


def rows(first: int, *labels: str) -> list[tuple[object, str]]:
    return [(scene(first + k), label) for k, label in enumerate(labels)]


def test_nothing_is_said_of_data_that_fit(tmp_path: Path) -> None:
    training = write_list(tmp_path, "train", rows(0, "blue", "red,night"))
    assert notes(training, write_list(tmp_path, "val", rows(9, "red,night", "blue"))) == []


def test_labels_of_validation_alone_are_named(tmp_path: Path) -> None:
    training = write_list(tmp_path, "train", rows(0, "blue", "blue,night"))
    told = notes(training, write_list(tmp_path, "val", rows(9, "red,night", "blue")))
    assert [line for line in told if "red" in line and "no training crop" in line] == told
    assert len(told) == 1


def test_crops_in_both_are_counted(tmp_path: Path) -> None:
    training = write_list(tmp_path, "train", rows(0, "blue", "red,night"))
    (told,) = notes(training, training)
    assert "2 of 2 crops are also in the training data" in told
