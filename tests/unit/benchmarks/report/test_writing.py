from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.budget import Limit, Measurement, judge
from benchmarks.report import Report, headline, junit, markdown_table, show_table, to_json
from benchmarks.report.reading import read_result


def verdicts() -> dict[str, tuple[object, ...]]:
    values = {"size.engine_mb": 0.5, "size.artifact_mb": 2.0, "size.gpu_mb": None}
    limits = [Limit(metric=name, max=1.0) for name in values]
    found = [Measurement(metric=name, value=value, samples=1) for name, value in values.items()]
    return {"a <&> b": judge(found, limits)}


def test_table_keeps_order_and_escapes() -> None:
    text = markdown_table([{"a": "1|2", "b": "x"}, {"b": "y\nz", "c": "[red]"}])
    assert text.splitlines() == [
        "| a    | b   | c     |",
        "| ---- | --- | ----- |",
        "| 1\\|2 | x   |       |",
        "|      | y z | [red] |",
    ]
    assert markdown_table([]) == ""


def test_headline_puts_an_artifact_in_a_column() -> None:
    rows = headline({"one": {"exact": "1"}, "two": {"exact": "2", "flips": "0"}})
    assert rows == [
        {"metric": "exact", "one": "1", "two": "2"},
        {"metric": "flips", "one": "", "two": "0"},
    ]


def test_stdout_gets_markdown_when_it_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("Title", [{"a": "1"}])
    show_table("Nothing", [])
    assert capsys.readouterr().out == "## Title\n\n| a   |\n| --- |\n| 1   |\n\n"


def test_terminal_gets_a_drawn_table_with_brackets_intact(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rich")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    show_table("Title", [{"a": "[red]1[/red]"}])
    assert "[red]1[/red]" in capsys.readouterr().out


def test_json_has_no_nan_and_no_surprises() -> None:
    value = {
        "nan": float("nan"),
        "many": np.array([1.0, np.inf]),
        "one": np.int64(3),
        "path": Path("a/b"),
        "tuple": (1, None, True, "学"),
    }
    assert json.loads(to_json(value)) == {
        "nan": None,
        "many": [1.0, None],
        "one": 3,
        "path": "a/b",
        "tuple": [1, None, True, "学"],
    }
    with pytest.raises(TypeError):
        to_json({"object": object()})


def test_junit_counts_and_escapes() -> None:
    root = ElementTree.fromstring(junit(verdicts()))  # type: ignore[arg-type]
    suite = root[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")
    assert suite.get("name") == "a <&> b"
    assert [child.tag for case in suite for child in case] == ["failure", "error"]


def test_report_is_written_with_and_without_verdicts(tmp_path: Path) -> None:
    tables = {"Table": [{"a": "1"}]}
    Report(title="T", tables=tables, data={"command": "c"}).write(tmp_path, ["p.png"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.md", "result.json"]
    assert "![p](p.png)" in (tmp_path / "report.md").read_text()
    report = Report(title="T", tables=tables, data={}, verdicts=verdicts())  # type: ignore[arg-type]
    report.write(tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert [v["outcome"] for v in result["verdicts"]["a <&> b"]] == ["pass", "fail", "inconclusive"]
    assert "INCONCLUSIVE" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "junit.xml").is_file()


def test_the_lead_explains_the_tables_to_people_and_to_a_joined_report(tmp_path: Path) -> None:
    data = {"command": "benchmarks.roofline"}
    Report(title="T", lead="It shows.", tables={"x": [{"a": "1"}]}, data=data).write(tmp_path)
    told = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert told.startswith("# T\n\nIt shows.\n")
    assert read_result(tmp_path).lead == "It shows."


def test_details_are_written_but_not_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report(title="T", tables={"A": [{"a": "1"}]}, data={}, details={"Long": [{"b": "2"}]})
    report.show()
    report.write(tmp_path)
    assert "Long" not in capsys.readouterr().out
    assert "## Long\n\n| b   |" in (tmp_path / "report.md").read_text(encoding="utf-8")
