"""``train.study``: plans, the table of outcomes, and a study of tiny trainings end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runtime.errors import ConfigError
from train.study import StudyConfig, _waves, main
from train.study_plan import Plan, read_plan
from train.study_report import Outcome, table

PLAN = """
title = "lamps"
show = ["accuracy.exact"]
train = ["tiny", "--data", "{data}/train", "--validation", "{data}/val",
         "--schema", "derive:colour,side", "--imgsz", "16", "32",
         "--network.sizes", "width=8", "last_width=16",
         "--loop.steps", "6", "--loop.batch", "8", "--loop.validate-every", "3",
         "--loop.optim.warmup", "2"]

[tests]
val = "{data}/val"

[variants]
base = []
slow = ["--loop.optim.lr", "1e-4"]

[variants.again]
start = "base"
command = ["train.fit", "tiny", "--init", "{start}"]
"""


def written(tmp_path: Path, text: str = PLAN) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(text, encoding="utf-8")
    return path


def plan_of(tmp_path: Path) -> Plan:
    return read_plan(written(tmp_path))


def test_a_command_may_start_from_nothing(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(
        'title = "t"\nshow = []\ntrain = []\n[tests]\nval = "{data}"\n'
        "[variants.taught]\n"
        'command = ["compress.distill", "tiny", "--teacher", "{output}/teacher"]',
        encoding="utf-8",
    )
    (run,) = read_plan(path).runs(Path("/data"), Path("/out"), [4])
    assert run.start is None
    assert run.arguments == (
        *("tiny", "--teacher", "/out/teacher", "--loop.seed", "4"),
        *("--output", "/out/taught-s4"),
    )


def test_a_plan_fills_in_data_seed_and_start(tmp_path: Path) -> None:
    runs = plan_of(tmp_path).runs(Path("/d"), Path("/out"), [3])
    assert [run.output for run in runs] == [
        Path("/out/base-s3"),
        Path("/out/slow-s3"),
        Path("/out/again-s3"),
    ]
    base, slow, again = runs
    assert base.module == "train.fit"
    assert base.start is None
    assert base.arguments[:3] == ("tiny", "--data", "/d/train")
    assert base.arguments[-4:] == ("--loop.seed", "3", "--output", "/out/base-s3")
    assert slow.arguments[-6:-4] == ("--loop.optim.lr", "1e-4")
    assert again.start == Path("/out/base-s3")
    assert again.arguments == ("tiny", "--init", "/out/base-s3", "--output", "/out/again-s3")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('start = "base"', 'start = "nobody"', "start must name a variant above it"),
        ("slow = [", '"a/b" = [', "it becomes a folder's name"),
        ("base = []", "base = [1]", "base"),
        ('title = "lamps"', 'titel = "lamps"', "titel|title"),
        ('val = "{data}/val"', "", "and one test list"),
        ("[variants]", "[variants", "cannot be read as TOML"),
        ("[tests]", "prepare = ['train.synth']\n[tests]", "words"),
    ],
)
def test_a_wrong_plan_says_what_is_wrong(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in PLAN
    with pytest.raises(ConfigError, match=message):
        read_plan(written(tmp_path, PLAN.replace(old, new)))


def test_the_table_gives_mean_spread_and_change_seed_by_seed(tmp_path: Path) -> None:
    def reached(variant: str, seed: int, value: float) -> Outcome:
        return Outcome(variant=variant, seed=seed, lists={"val": {"accuracy.exact": value}})

    rows = table(
        plan_of(tmp_path),
        [reached("base", 0, 0.5), reached("base", 1, 0.7), reached("slow", 1, 0.6)],
    )
    assert rows == [
        # The sample standard deviation of 0.5 and 0.7 is 0.2 / sqrt(2).
        {"variant": "base", "seeds": "2", "val exact": "0.6000 ± 0.1414"},
        {"variant": "slow", "seeds": "1", "val exact": "0.6000 (-0.1000)"},
    ]


def test_a_study_trains_once_and_compares(
    lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "study"
    arguments = [str(written(tmp_path)), "--data", str(lamps), "--output", str(out)]
    arguments += ["--seeds", "5", "--variants", "base"]
    assert main([*arguments, "--report-only"]) == 1
    assert "holds none of the 1 runs yet" in capsys.readouterr().err
    assert main(arguments) == 0, capsys.readouterr().err
    first = capsys.readouterr()
    assert "base-s5: started" in first.err
    record = json.loads((out / "study.json").read_text(encoding="utf-8"))
    (run,) = record["runs"]
    assert (run["variant"], run["seed"]) == ("base", 5)
    checkpoint = json.loads((out / "base-s5/checkpoint.json").read_text(encoding="utf-8"))
    assert checkpoint["lineage"]["fit"]["config"]["loop"]["seed"] == 5
    assert run["lists"]["val"]["accuracy.exact"] == pytest.approx(checkpoint["metrics"]["exact"])
    assert (out / "study.png").read_bytes().startswith(b"\x89PNG")
    assert main(arguments) == 0
    assert "started" not in capsys.readouterr().err
    (out / "study.json").unlink()
    every = [*arguments[:-2], "--report-only"]  # of all variants, one is there
    assert main(every) == 0
    assert "started" not in capsys.readouterr().err
    assert json.loads((out / "study.json").read_text(encoding="utf-8"))["runs"] == [run]
    edited = PLAN.replace("base = []", 'base = ["--loop.loss.choice", "focal"]')
    assert main([str(written(tmp_path, edited)), *arguments[1:]]) == 1
    assert "the plan has changed since base-s5" in capsys.readouterr().err


def test_a_failed_run_names_its_log(
    lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = written(tmp_path, PLAN.replace('"--loop.steps", "6"', '"--loop.steps", "0"'))
    out = tmp_path / "study"
    arguments = [str(plan), "--data", str(lamps), "--output", str(out), "--seeds", "0"]
    assert main([*arguments, "--variants", "base", "again"]) == 1
    told = capsys.readouterr().err
    assert "2 of 2 runs failed" in told
    assert "base-s0.log" in told
    assert "steps" in (out / "base-s0.log").read_text(encoding="utf-8")
    assert not (out / "study.md").exists()


@pytest.mark.parametrize("wrong", [{"seeds": ()}, {"seeds": (1, 1)}, {"jobs": 0}])
def test_wrong_options_are_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="none twice"):
        StudyConfig(plan=tmp_path, data=tmp_path, output=tmp_path, **wrong)  # type: ignore[arg-type]


def test_what_a_study_needs_is_prepared_first(
    lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare = 'prepare = [["train.shards", "{data}/val", "--output", "{output}/packed"]]'
    plan = written(tmp_path, PLAN.replace("[tests]", f"{prepare}\n[tests]"))
    arguments = [str(plan), "--data", str(lamps), "--output", str(tmp_path / "out")]
    arguments += ["--variants", "base", "--seeds", "0"]
    main(arguments)
    assert list((tmp_path / "out/packed").glob("*.tar"))
    capsys.readouterr()
    assert main(arguments) == 1  # train.shards does not write into what is there
    assert "'train.shards" in capsys.readouterr().err


def test_a_chain_of_variants_is_run_link_by_link(
    lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = """
[variants.last]
start = "again"
command = ["train.fit", "tiny", "--init", "{start}"]
"""
    plan = written(tmp_path, PLAN.replace('"--loop.steps", "6"', '"--loop.steps", "0"') + last)
    arguments = [str(plan), "--data", str(lamps), "--output", str(tmp_path / "out")]
    assert main([*arguments, "--seeds", "0", "--jobs", "3"]) == 1
    told = capsys.readouterr().err
    assert "again-s0: left out, base-s0 is not there" in told
    # Not before its start was given up.
    assert told.index("last-s0: left out, again-s0") > told.index("again-s0: left out")
    runs = read_plan(plan).runs(lamps, tmp_path, [0])
    waves = [[run.variant for run in wave] for wave in _waves(runs)]
    assert waves == [["base", "slow"], ["again"], ["last"]]
    # What is not run now counts as there.
    assert [[run.variant for run in wave] for wave in _waves(runs[2:])] == [["again"], ["last"]]


def test_an_unknown_variant_is_refused(
    lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(written(tmp_path)), "--data", str(lamps), "--output", str(tmp_path / "out")]
    assert main([*arguments, "--variants", "fast"]) == 1
    assert "has no variants ['fast']" in capsys.readouterr().err
