"""The command on data with one of each problem, without a checkpoint."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import ConfigError
from tests.unit.train.audit.crops import SCHEMA, scene, write_list
from train.audit.cli import AuditConfig, main


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """Lists with a corrupt picture, a missing one, a wrong label, a leak and a blank crop."""
    folder = tmp_path / "data"
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA.to_object()), encoding="utf-8")
    labels = ["red,night", *["blue", "red"] * 6]
    train = [(scene(k), labels[k]) for k in range(12)]
    write_list(
        folder,
        "train",
        [
            *train,
            ("missing.png", "red"),
            (scene(20), "pink"),
            ("train-0.png", "blue"),
            (np.full((20, 40, 3), 90, np.uint8), "red"),
        ],
    )
    write_list(folder, "test", [("train-3.png", "blue"), (scene(30), "red")])
    return folder


def options(gate: Path, *more: str) -> list[str]:
    return [
        *map(str, [gate / "train.tsv", "--test", gate / "test.tsv"]),
        *map(str, ["--schema", gate.parent / "schema.json", "--output", gate.parent / "report"]),
        *more,
    ]


def test_every_problem_is_counted_and_written(
    gate: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options(gate, "--imgsz", "48", "96")) == 0
    report = gate.parent / "report"
    assert sorted(path.name for path in report.iterdir()) == ["audit.html", "audit.json", "lists"]
    found = json.loads((report / "audit.json").read_text(encoding="utf-8"))
    assert found["crops"] == {"train": 14, "test": 2}
    assert found["problems"] == {
        "crops that leak between splits": 1,
        "pictures missing or corrupt": 1,
        "rows outside the schema": 1,
        "duplicates with different labels": 1,
        "exact duplicates inside a split": 1,
        "pictures that show nothing": 1,
    }
    assert [row["row"].split(": ")[0] for row in found["bad_rows"]] == [
        f"{gate / 'train.tsv'}:13",
        f"{gate / 'train.tsv'}:14",
    ]
    leak, conflict = sorted(found["duplicates"]["listed"], key=lambda pair: pair["splits"])
    assert leak["splits"] == ["train", "test"]
    assert leak["rows"] == [f"{gate / 'train.tsv'}:4", f"{gate / 'test.tsv'}:1"]
    assert conflict["labels"] == ["red,night", "blue"]
    assert found["sizes"]["train"]["smaller_than_input"] == 1
    assert found["suspects"] is None
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"wrote {report}: 6 problems; next: open ")


def test_page_names_leakage_first(gate: Path) -> None:
    assert main(options(gate)) == 0
    page = (gate.parent / "report" / "audit.html").read_text(encoding="utf-8")
    titles = ["Problems", "Leakage between splits", "Duplicates with different labels"]
    places = [page.index(f">{title}</h2>") for title in titles]
    assert places == sorted(places)
    assert "Labels probably wrong" not in page  # no network was asked
    assert "pink" in page
    assert "fewer than 5: night (1)" in page


def test_strict_fails_on_leakage_and_bad_rows(gate: Path, tmp_path: Path) -> None:
    assert main(options(gate, "--strict")) == 1
    assert (tmp_path / "report" / "audit.html").is_file()  # the report is written all the same
    write_list(gate, "test", [(scene(31), "blue")])
    write_list(gate, "train", [(scene(k), "blue") for k in range(4)])
    assert main(options(gate, "--strict", "--overwrite")) == 0


def test_near_search_can_be_switched_off(gate: Path) -> None:
    near = np.clip(scene(30).astype(int) + 2, 0, 255).astype(np.uint8)
    write_list(gate, "test", [(near, "red")])
    write_list(gate, "train", [(scene(30), "red"), (scene(1), "blue")])
    for more, leaks in ((["--near", "-1"], 0), (["--overwrite"], 1)):
        assert main(options(gate, *more)) == 0
        text = (gate.parent / "report" / "audit.json").read_text(encoding="utf-8")
        assert json.loads(text)["problems"]["crops that leak between splits"] == leaks


def test_existing_report_is_kept(gate: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = gate.parent / "report"
    report.mkdir()
    (report / "mine.txt").write_text("keep", encoding="utf-8")
    assert main(options(gate)) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert [path.name for path in report.iterdir()] == ["mine.txt"]


def test_failure_leaves_nothing_behind(gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise ConfigError("no page")

    monkeypatch.setattr("train.audit.cli.audit_page", fail)
    assert main(options(gate)) == 1
    assert sorted(path.name for path in gate.parent.iterdir()) == ["data", "schema.json"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": ()}, "at least one"),
        ({"schema": None}, "--schema"),
        ({"near": 37}, "--near"),
        ({"near": -2}, "--near"),
        ({"imgsz": (0, 9)}, "--imgsz"),
    ],
)
def test_options_that_cannot_work(changes: dict[str, object], message: str) -> None:
    settings = {"data": (Path("a"),), "output": Path("b"), "schema": "cn-plate"}
    with pytest.raises(ConfigError, match=message):
        AuditConfig(**(settings | changes))  # type: ignore[arg-type]


def test_torch_is_not_imported_without_a_checkpoint(gate: Path) -> None:
    code = (
        "import sys; from train.audit.cli import main; done = main(sys.argv[1:]); "
        "assert done == 0; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, *options(gate)], check=True, capture_output=True)
