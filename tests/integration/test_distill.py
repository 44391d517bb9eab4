"""``python -m compress.distill`` on pictures of lamps, through its command line."""

from __future__ import annotations

import os
import shutil
import signal
from functools import partial
from pathlib import Path

import cv2
import pytest
import torch
from safetensors.torch import load_file

import benchmarks.scenarios.warming
import compress.slim.cli
import compress.slim.comparison
import train.loop
from benchmarks.scenarios import compare_interleaved
from compress.distill.cli import main
from compress.distill.distillation import Distillation
from tests.slimming import SCHEMA, random_crops, tiny_config, tiny_network, write_checkpoint
from tests.training import lamps_config
from train.checkpoint import load_checkpoint
from train.cost import count_parameters
from train.data import load_crops
from train.fit import fit

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = (
    *("--imgsz", "16", "32", "--network.pool", "columns"),
    *("--network.sizes", "width=8", "last_width=16"),
)
"""A fresh student of half the teacher's width."""


def arguments(
    student: str, teachers: list[Path], lamps: Path, output: Path, *more: str
) -> list[str]:
    return [
        student,
        *("--teacher", *map(str, teachers), "--validation", str(lamps / "val")),
        *("--output", str(output), "--threads", "1", "--loop.batch", "8"),
        *("--loop.steps", "6", "--loop.validate-every", "3", "--loop.optim.warmup", "2"),
        *(("--data", str(lamps / "train")) if "--data" not in more else ()),
        *more,
    ]


@pytest.fixture(scope="module")
def unlabelled(lamps: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The training pictures in folders that say nothing about them."""
    folder = tmp_path_factory.mktemp("unlabelled")
    for index, path in enumerate(sorted((lamps / "train").glob("*.png"))):
        place = folder / str(index % 3)
        place.mkdir(exist_ok=True)
        shutil.copy(path, place)
    return folder


def test_a_fresh_student_learns_from_teachers_and_pictures_alone(
    lamps: Path,
    lamps_checkpoint: Path,
    unlabelled: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = [
        *("--unlabelled", str(unlabelled), "--loop.steps", "60", "--loop.validate-every", "30"),
        *("--loop.batch", "16", "--loop.optim.lr", "0.01", "--alpha", "0.9"),
        *("--loop.augment.geometry", "0", "--loop.augment.colour", "0"),
    ]
    words = arguments("tiny", [lamps_checkpoint], lamps, tmp_path / "out", *SMALL, *options)
    place = words.index("--data")
    del words[place : place + 2]
    assert main(words) == 0
    teacher, student = load_checkpoint(lamps_checkpoint), load_checkpoint(tmp_path / "out")
    assert student.schema == teacher.schema
    assert count_parameters(student.build()) < count_parameters(teacher.build()) / 2
    assert student.metrics["exact"] >= 0.8
    found = student.metrics["distill"]
    assert found["before"] is None
    assert found["teachers"][0]["exact"] == pytest.approx(teacher.metrics["exact"])
    assert found["after"]["exact"] == student.metrics["exact"]
    assert list(student.lineage) == ["distill"]
    entry = student.lineage["distill"]
    assert entry["inputs"]["teacher"] == teacher.digest
    assert (
        entry["inputs"]["data"]
        == load_crops([], student.schema, student.input, unlabelled=[unlabelled]).digest
    )
    assert entry["config"]["distill"]["weight"] == 0.9
    printed = capsys.readouterr().out
    assert f"teacher {lamps_checkpoint}" in printed
    assert "student before" not in printed
    assert printed.splitlines()[-1].startswith(f"wrote {tmp_path / 'out'}; next: ")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_checkpoint_is_trained_on_by_several_teachers(
    lamps: Path, lamps_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fit(lamps_config(lamps, tmp_path / "start", steps=2)).folder
    options = ("--loop.mixing.mixup", "0.2", "--distill.weights", "colour=1", "--temperature", "4")
    output = tmp_path / "out"
    teachers = [lamps_checkpoint, folder]
    assert main(arguments(str(folder), teachers, lamps, output, *options)) == 0
    start, student = load_checkpoint(folder), load_checkpoint(output)
    assert list(student.lineage) == ["fit", "distill"]
    assert (student.input, student.network) == (start.input, start.network)
    inputs = student.lineage["distill"]["inputs"]
    digests = [load_checkpoint(teacher).digest for teacher in teachers]
    assert [inputs[name] for name in ("teacher", "teacher2")] == digests
    assert inputs["init"] == start.digest
    assert student.metrics["distill"]["before"]["exact"] == start.metrics["exact"]
    printed = capsys.readouterr().out
    assert [word in printed for word in ("student before", "parameters", "MACs")] == [True] * 3


def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    lamps: Path,
    lamps_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Projections of features are a state that has to be kept as well."""

    def words(output: str, *more: str) -> list[str]:
        options = (*SMALL, "--distill.features", "1", "--distill.stages", "1", *more)
        return arguments("tiny", [lamps_checkpoint], lamps, tmp_path / output, *options)

    assert main(words("whole")) == 0
    original, calls = train.loop.learning_rate, 0

    def interrupting(*values: object) -> float:
        nonlocal calls
        calls += 1
        if calls == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*values)

    monkeypatch.setattr(train.loop, "learning_rate", interrupting)
    assert main(words("parts")) == 1
    capsys.readouterr()
    assert main(words("parts", "--temperature", "9")) == 1
    assert "unfinished run of other settings" in capsys.readouterr().err
    assert main(words("parts")) == 0
    assert "going on after step 4" in capsys.readouterr().err
    whole, parts = (load_file(tmp_path / n / "weights.safetensors") for n in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())


def test_what_cannot_be_taught_is_one_error(
    lamps: Path, lamps_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    write_checkpoint(other, tiny_network(), tiny_config())
    empty = tmp_path / "empty"
    empty.mkdir()
    cases = [
        (("--teacher", "nowhere"), "cannot be read"),
        (("--teacher",), "name at least one checkpoint folder with --teacher"),
        (("--schema", "us-plate"), "cannot teach the schema 'us-plate': it has no head 'char_1'"),
        (("--unlabelled", str(empty)), "no pictures; expected a folder"),
        (("--distill.weights", "hue=1"), "distill: no heads ['hue']"),
        (("--network.pool", "global", "--distill.features", "1"), "pooled features cannot follow"),
        (("--resize", "letterbox"), "both need the same rule"),
    ]
    for more, message in cases:
        words = arguments("tiny", [lamps_checkpoint], lamps, tmp_path / "out", *SMALL, *more)
        assert main(words) == 1, more
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(["nowhere"]) == 2
    assert "invalid choice" in capsys.readouterr().err
    assert main([str(tmp_path / "nowhere"), "--teacher", "x"]) == 1
    told = capsys.readouterr().err
    assert told.startswith(
        f"error: {tmp_path / 'nowhere'} does not exist; give a checkpoint folder"
    )
    assert main(["--teacher", "x", str(other)]) == 2
    assert "error: the student comes first: python -m compress.dis" in capsys.readouterr().err
    assert main(["--help"]) == 0
    capsys.readouterr()
    # What a checkpoint fixes is no option of it.
    assert main(arguments(str(other), [other], lamps, tmp_path / "out", "--imgsz", "8", "8")) == 2


def test_the_training_after_slimming_follows_a_teacher(
    lamps: Path,
    lamps_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    quick = partial(compare_interleaved, rounds=5, block_s=0.001)
    monkeypatch.setattr(compress.slim.comparison, "compare_interleaved", quick)
    brief = partial(benchmarks.scenarios.warm_up, min_s=0.01, max_s=0.02)
    monkeypatch.setattr(benchmarks.scenarios.warming, "warm_up", brief)
    monkeypatch.setattr(compress.slim.cli, "_STATISTICS_BATCHES", 2)
    words = [
        *(str(lamps_checkpoint), "--data", str(lamps / "train"), "--validation"),
        *(str(lamps / "val"), "--output", str(tmp_path / "out"), "--threads", "1"),
        *("--batch", "8", "--sparse-steps", "2", "--tune-steps", "4"),
        *("--teacher", str(lamps_checkpoint), "--alpha", "1", "--distill.features", "0.5"),
    ]
    for more, message in (
        (("--distill.weights", "hue=1"), "distill: no heads ['hue']"),
        (("--tune-steps", "0"), "--teacher is for the training after the removal"),
    ):
        assert compress.slim.cli.main([*words, *more]) == 1
        assert message in capsys.readouterr().err
    asked: list[int] = []
    forward = Distillation.forward
    monkeypatch.setattr(Distillation, "forward", lambda *given: asked.append(1) or forward(*given))
    assert compress.slim.cli.main(words) == 0
    assert len(asked) == 4  # not in the sparsity training
    inputs = load_checkpoint(tmp_path / "out").lineage["slim"]["inputs"]
    assert inputs["teacher"] == inputs["checkpoint"]


def test_a_list_of_pictures_beside_labelled_ones(
    lamps: Path, lamps_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index, image in enumerate(random_crops(3).numpy()):
        cv2.imwrite(str(tmp_path / f"{index}.png"), image)
    (tmp_path / "list.txt").write_text("0.png\n1.png\n2.png\n", encoding="utf-8")
    options = ("--unlabelled", str(tmp_path / "list.txt"), "--repeats", "2")
    words = arguments("tiny", [lamps_checkpoint], lamps, tmp_path / "out", *SMALL, *options)
    assert main(words) == 0
    assert "259 training crops" in capsys.readouterr().err
    student = load_checkpoint(tmp_path / "out")
    assert [head.labels for head in student.schema.heads] == [head.labels for head in SCHEMA.heads]
