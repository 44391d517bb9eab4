"""The command on small pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.labelled import read_labelled
from runtime.builtin_schemas import us_plate
from runtime.errors import ConfigError
from tests.unit.train.audit.crops import SCHEMA, scene, write_list
from train.audit.cli import main as audit
from train.split.cli import SplitConfig, main

PARTS = ("train", "val", "test")


@pytest.fixture(scope="module")
def plates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of 60 pictures of 30 plates."""
    folder = tmp_path_factory.mktemp("plates")
    return write_list(folder, "all", [(scene(k), f"ABC1{k % 30:02}") for k in range(60)])


def options(source: Path, output: Path, *more: object) -> list[str]:
    return [*map(str, [source, "--schema", "us-plate", "--output", output, *more])]


def texts_of(folder: Path) -> dict[str, list[str]]:
    return {name: list(read_labelled(folder / f"{name}.tsv", us_plate()).texts) for name in PARTS}


def test_no_plate_is_in_two_parts(
    plates: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(options(plates, out, "--shares", 0.5, 0.25, 0.25)) == 0
    told = capsys.readouterr()
    found = texts_of(out)
    assert sorted(text for part in found.values() for text in part) == sorted(
        f"ABC1{k % 30:02}" for k in range(60)
    )
    assert sum(len(set(part)) for part in found.values()) == 30
    assert "60 samples in 30 groups" in told.out
    assert told.out.splitlines()[-1].startswith(f"wrote {out}; next: python -m train.fit --data ")
    saved = json.loads((out / "split.json").read_text(encoding="utf-8"))
    assert saved["samples"] == {name: len(part) for name, part in found.items()}
    assert (saved["groups"], saved["largest_group"], saved["config"]["seed"]) == (30, 2, 0)
    lists = [*map(str, (out / "train.tsv", "--validation", out / "val.tsv", "--test"))]
    checks = ["--schema", "us-plate", "--strict", "--output", str(tmp_path / "audit")]
    assert audit([*lists, str(out / "test.tsv"), *checks]) == 0
    report = json.loads((tmp_path / "audit" / "audit.json").read_text(encoding="utf-8"))
    assert [item["crops"] for item in report["readings_in_several_splits"]] == [0, 0, 0]


def test_more_data_and_another_order_move_nothing(plates: Path, tmp_path: Path) -> None:
    lines = plates.read_text(encoding="utf-8").splitlines(keepends=True)
    some = plates.with_name("some.tsv")
    some.write_text("".join(reversed(lines[:25])), encoding="utf-8")
    assert main(options(some, tmp_path / "some")) == 0
    assert main(options(plates, tmp_path / "all")) == 0
    before, after = texts_of(tmp_path / "some"), texts_of(tmp_path / "all")
    assert all(set(before[name]) <= set(after[name]) for name in PARTS)
    assert main(options(plates, tmp_path / "other", "--seed", 1)) == 0
    assert texts_of(tmp_path / "other") != after


def test_like_keeps_parts_and_names_groups_in_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA.to_object()), encoding="utf-8")
    near = np.clip(scene(1).astype(int) + 3, 0, 255).astype(np.uint8)
    images = [scene(0), scene(1), scene(2), near, scene(2), scene(0)]
    write_list(tmp_path, "p", [(image, "red") for image in images])
    table = tmp_path / "all.csv"
    rows = [f"p-{k}.png,{'blue' if k % 2 else 'red'},{k}\n" for k in range(6)]
    table.write_text("path,colour,number\n" + "".join(rows), encoding="utf-8")
    # 1 and 3 show the same, but stand in two lists; 4 and 5 are new and follow 2 and 0.
    for name, inside in (("train", (1,)), ("val", (0, 3)), ("test", (2,))):
        lines = [f"p-{k}.png\tany\n" for k in inside]
        (tmp_path / f"{name}.tsv").write_text("".join(lines), encoding="utf-8")
    like = [str(tmp_path / f"{name}.tsv") for name in PARTS]
    schema = ["--schema", str(tmp_path / "schema.json")]
    out = tmp_path / "out"
    assert main([str(table), *schema, "--output", str(out), "--like", *like]) == 0
    numbers = {
        name: [
            line.split("\t")[2]
            for line in (out / f"{name}.tsv").read_text(encoding="utf-8").splitlines()
        ]
        for name in PARTS
    }
    assert numbers == {
        "train": ["number", "1"],
        "val": ["number", "0", "3", "5"],
        "test": ["number", "2", "4"],
    }
    told = capsys.readouterr()
    assert "warning: 1 groups stand in several parts" in told.err
    torn = json.loads((out / "split.json").read_text(encoding="utf-8"))["groups_in_several_parts"]
    assert [(row["part"], row["row"]) for row in torn] == [
        ("train", f"{table}:3"),
        ("val", f"{table}:5"),
    ]


def test_a_part_of_share_0_is_not_made(plates: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(options(plates, out, "--shares", 0.7, 0.3, 0)) == 0
    assert sorted(path.name for path in out.iterdir()) == ["split.json", "train.tsv", "val.tsv"]


def test_failures_leave_nothing_and_what_was_there(
    plates: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = write_list(tmp_path / "data", "two", [(scene(0), "ABC123"), (scene(1), "ABC123")])
    out = tmp_path / "out"
    assert main(options(two, out)) == 1
    assert "no sample for" in capsys.readouterr().err
    two.write_text("two-0.png\tABC123\nnone.png\tABC124\n", encoding="utf-8")
    assert main(options(two, out)) == 1
    assert "two.tsv:2" in capsys.readouterr().err
    assert main(options(two, out, "--skip-bad", "--shares", 1, 0, 0)) == 0
    assert "left out 1 bad rows" in capsys.readouterr().err
    assert main(options(plates, out)) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main(options(two, two.parent, "--overwrite")) == 1
    assert "would be replaced, and" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"]
    assert main(options(plates, out, "--overwrite")) == 0


def test_lists_may_be_extended_in_place(plates: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(options(plates, out)) == 0
    before = {name: (out / f"{name}.tsv").read_bytes() for name in PARTS}
    like = [out / f"{name}.tsv" for name in PARTS]
    # Neither another seed nor other shares move what is listed.
    more = ["--overwrite", "--seed", 5, "--shares", 0.2, 0.4, 0.4, "--like", *like]
    assert main(options(plates, out, *more)) == 0
    assert {name: (out / f"{name}.tsv").read_bytes() for name in PARTS} == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": ()}, "at least one"),
        ({"shares": (0.8, 0.1, 0.2)}, "--shares"),
        ({"shares": (1.1, -0.1, 0.0)}, "--shares"),
        ({"shares": (float("nan"), 0.5, 0.5)}, "--shares"),
        ({"near": 37}, "--near"),
    ],
)
def test_options_that_cannot_work(changes: dict[str, object], message: str) -> None:
    settings = {"data": (Path("a"),), "output": Path("b"), "schema": "cn-plate"}
    with pytest.raises(ConfigError, match=message):
        SplitConfig(**(settings | changes))  # type: ignore[arg-type]
