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
    report = tmp_path / "deep" / "report.json"
    lists = [str(lamps / "val"), str(lamps / "train")]
    assert main([str(lamps_checkpoint), "--data", *lists, "--output", str(report)]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == f"wrote {report}"
    assert "exact" in printed
    value = json.loads(report.read_text(encoding="utf-8"))
    assert list(value) == lists
    assert [entry["metrics"]["samples"] for entry in value.values()] == [96, 256]


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
