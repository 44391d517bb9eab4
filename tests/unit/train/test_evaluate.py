"""``train.evaluate`` through its command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.slimming import write_lamps
from train.evaluate import main

pytestmark = pytest.mark.usefixtures("one_thread")


def test_evaluate_reports_every_list_by_itself(
    lamps_checkpoint: Path, lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    lists = [str(lamps / "val"), str(lamps / "train")]
    assert main([str(lamps_checkpoint), "--data", *lists, "--output", str(out)]) == 0
    told = capsys.readouterr()
    assert "wrote" in told.err.splitlines()[-1]
    assert "exact" in told.out
    value = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert value["schema"] == 1
    assert list(value["data"]) == lists
    assert [entry["metrics"]["samples"] for entry in value["data"].values()] == [96, 256]
    html = (out / "report.html").read_text(encoding="utf-8")
    assert all(f"{name}: Confident mistakes" in html for name in lists)
    # What is there is not replaced without being asked for.
    assert main([str(lamps_checkpoint), "--data", lists[0], "--output", str(out)]) == 1


def test_evaluate_fits_on_validation_when_asked(
    lamps_checkpoint: Path, lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    data = ["--data", str(lamps / "train")]
    fit = ["--validation", str(lamps / "val"), "--precision", "0.9"]
    assert main([str(lamps_checkpoint), *data, *fit, "--output", str(out)]) == 0
    assert "recall, threshold refitted" in capsys.readouterr().out
    (entry,) = json.loads((out / "result.json").read_text(encoding="utf-8"))["data"].values()
    assert entry["operating"]["precision_floor"] == 0.9
    assert entry["validated"]["precision"]["total"] <= 96
    assert main([str(lamps_checkpoint), *data, "--precision", "0.9"]) == 1
    assert "pass --validation" in capsys.readouterr().err
    assert main([str(lamps_checkpoint), *data, data[1]]) == 1
    assert "twice" in capsys.readouterr().err


def test_evaluate_warns_of_crops_that_are_no_fair_test(
    lamps_checkpoint: Path, lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fair = write_lamps(tmp_path / "fair", 6, seed=7)
    rows = (fair / "labels.tsv").read_text(encoding="utf-8").splitlines()
    seen = (lamps / "val" / "labels.tsv").read_text(encoding="utf-8").splitlines()
    mixed = tmp_path / "mixed.tsv"
    lines = [f"{fair}/{row}\n" for row in rows] + [f"{lamps}/val/{row}\n" for row in seen[:2]]
    mixed.write_text("".join(lines), encoding="utf-8")
    evaluate = [str(lamps_checkpoint), "--data"]
    assert main([*evaluate, str(mixed), str(lamps / "train"), str(fair)]) == 0
    told = [text for text in capsys.readouterr().err.splitlines() if "warning" in text]
    assert [text.split(";")[0] for text in told] == [
        f"warning: {mixed}: 2 of 8 crops are also in the data that the operating point was fitted "
        "on",
        f"warning: {lamps / 'train'}: 256 of 256 crops are also in the training data",
    ]
    # Fitted anew on other crops, the checkpoint's own validation data have no part in it.
    out = tmp_path / "out"
    again = ["--validation", str(fair), "--output", str(out)]
    assert main([*evaluate, str(lamps / "val"), str(mixed), *again]) == 0
    (told_again,) = json.loads((out / "result.json").read_text(encoding="utf-8"))["warnings"]
    assert told_again.startswith(f"warning: {mixed}: 6 of 8 crops are also in the data that")


def test_evaluate_refuses_other_labels(
    lamps_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_lamps(tmp_path / "other", 2, seed=2)
    (other / "labels.tsv").write_text("0.png\tred,middle\n1.png\tred,left\n", encoding="utf-8")
    assert main([str(lamps_checkpoint), "--data", str(other)]) == 1
    assert "head 'side' has no label 'middle'" in capsys.readouterr().err
    assert main([str(lamps_checkpoint), "--data", str(other), "--skip-bad"]) == 0
    assert "left out 1 bad rows" in capsys.readouterr().err
    assert main([str(tmp_path), "--data", str(other)]) == 1
    assert "expected a checkpoint folder" in capsys.readouterr().err
