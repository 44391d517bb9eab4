"""``python -m compress.replay``: a chain of tiny trainings, repeated from its record."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest

import compress.distill.cli
import compress.quantize.cli
import train.fit
from compress.replay.cli import main
from compress.replay.steps import read_steps
from tests.slimming import write_lamps
from train.checkpoint import CHECKPOINT_FILE, Checkpoint, load_checkpoint
from train.lineage import plain

pytestmark = pytest.mark.usefixtures("one_thread")

COMMANDS = {"train.fit": train.fit.main, "compress.distill": compress.distill.cli.main}
LOOP = (
    *("--threads", "1", "--loop.steps", "4", "--loop.batch", "8", "--loop.validate-every", "2"),
    *("--loop.optim.warmup", "0", "--loop.optim.optimiser", "adamw"),
)


@dataclass(frozen=True)
class Chain:
    """fit, then distill by a teacher from elsewhere and by what was fitted."""

    folder: Path
    last: Checkpoint


@pytest.fixture(scope="module")
def chain(
    one_thread: None, lamps_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Chain:
    folder = tmp_path_factory.mktemp("chain")
    write_lamps(folder / "train", 24, seed=0)
    write_lamps(folder / "val", 16, seed=1)
    data = ("--data", str(folder / "train"), "--validation", str(folder / "val"))
    small = ("--imgsz", "16", "32", "--network.sizes", "width=8", "last_width=16")
    schema = ("--schema", "derive:colour,side", "--network.pool", "columns")
    first = ["tiny", *data, *small, *schema, *LOOP, "--output", str(folder / "first")]
    assert train.fit.main(first) == 0
    second = [
        *(str(folder / "first"), *data, *LOOP, "--output", str(folder / "second")),
        *("--teacher", str(lamps_checkpoint), str(folder / "first"), "--alpha", "0.4"),
        *("--unlabelled", str(folder / "val")),
    ]
    assert compress.distill.cli.main(second) == 0
    return Chain(folder, load_checkpoint(folder / "second"))


def test_a_repeated_chain_ends_with_the_same_bits(
    chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "again"
    assert main([str(chain.last.folder), "--output", str(output), "--strict"]) == 0
    told = capsys.readouterr()
    again = load_checkpoint(output / "distill")
    assert again.digest == chain.last.digest
    assert again.metrics["exact"] == chain.last.metrics["exact"]
    assert list(again.lineage) == ["fit", "distill"]
    tables = [line.split("|") for line in told.out.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row[1:-1]] for row in tables]
    assert [row[:2] for row in cells if row[0] in ("fit", "distill")] == [
        ["fit", "same"],
        ["distill", "same"],
    ]
    exact = f"{chain.last.metrics['exact']:.4f}"
    assert ["exact", exact, exact, "+0.0000"] in cells
    assert ["metric", "recorded", "now", "change"] in cells
    # What is there already is not made again.
    (output / "distill" / "marker").touch()
    assert main([str(chain.last.folder), "--output", str(output)]) == 0
    assert "is there already" in capsys.readouterr().err
    assert (output / "distill" / "marker").exists()


def test_the_command_lines_say_what_is_run(
    chain: Chain,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = tmp_path / "dry"
    assert main([str(chain.last.folder), "--output", str(output), "--dry-run"]) == 0
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()[:2]]
    assert not output.exists()
    steps = read_steps(chain.last)
    expected = ["train.fit", "compress.distill"]
    assert [line[:3] for line in lines] == [["python", "-m", module] for module in expected]
    # Both as a start and as a teacher.
    assert lines[1].count(str(output / "fit")) == 2
    # Typed in, they give the very options of the record but for the places.
    for line, step in zip(lines, steps, strict=True):
        seen: list[object] = []
        work = "fit" if step.name == "fit" else "distill"
        module = train.fit if step.name == "fit" else compress.distill.cli
        monkeypatch.setattr(
            module, work, lambda config, seen=seen: seen.append(config) or chain.last
        )
        words = [
            str(chain.folder / "first") if word == str(output / "fit") else word for word in line
        ]
        assert COMMANDS[line[2]](words[3:]) == 0
        found = plain(seen[0])
        ours = {"output": str(step.config.output)}
        if step.name == "distill":
            # The command takes these from the checkpoint when it runs.
            ours |= {name: plain(step.config)[name] for name in ("imgsz", "network")}
        assert {**found, **ours} == plain(step.config)


def test_a_chain_may_begin_later(chain: Chain, tmp_path: Path) -> None:
    words = [str(chain.last.folder), "--output", str(tmp_path), "--from", "distill"]
    assert main(words) == 0
    again = load_checkpoint(tmp_path / "distill")
    assert again.digest == chain.last.digest
    assert again.lineage["distill"]["config"]["init"] == str(chain.folder / "first")
    assert not (tmp_path / "fit").exists()


def test_changed_data_is_told_or_refused(
    chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = chain.folder / "train" / "labels.tsv"
    rows = labels.read_text(encoding="utf-8")
    labels.write_text(rows.replace("red", "blue", 1), encoding="utf-8")
    words = [str(chain.last.folder), "--output", str(tmp_path / "out"), "--dry-run"]
    try:
        assert main(words) == 0
        assert "fit: --data is not what it was" in capsys.readouterr().err
        assert main([*words, "--strict"]) == 1
        assert "error: fit: --data is not what it was" in capsys.readouterr().err
        labels.unlink()
        assert main(words) == 1
        assert "data of step 'fit'" in capsys.readouterr().err
    finally:
        labels.write_text(rows, encoding="utf-8")


def test_an_int8_graph_is_compared_as_well_as_its_calibration_crops(
    lamps_checkpoint: Path,
    lamps: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    untimed = SimpleNamespace(verdict=lambda: "no verdict", to_object=dict)
    monkeypatch.setattr(compress.quantize.cli, "compare_speed", lambda *_: untimed)
    crops = write_lamps(tmp_path / "crops", 40, seed=2)
    words = [str(lamps_checkpoint), "--calibration", str(crops), "--samples", "40"]
    words += ["--validation", str(lamps / "val"), "--output", str(tmp_path / "int8")]
    assert compress.quantize.cli.main(words) == 0
    again = [str(tmp_path / "int8"), "--from", "quantize", "--output"]
    assert main([*again, str(tmp_path / "same"), "--strict"]) == 0
    assert weights_row(capsys.readouterr().out)[1::2] == ["same", "same"]
    for path in crops.glob("*.png"):
        cv2.imwrite(str(path), cv2.imread(str(path)) // 3)
    assert main([*again, str(tmp_path / "other")]) == 0
    told = capsys.readouterr()
    assert "quantize: --calibration is not what it was: the pixels that are drawn" in told.err
    assert weights_row(told.out)[1::2] == ["same", "differ"]
    assert main([*again, str(tmp_path / "strict"), "--strict"]) == 1
    assert "error: quantize: --calibration is not what it was" in capsys.readouterr().err
    assert not (tmp_path / "strict").exists()


def weights_row(printed: str) -> list[str]:
    """Cells of the line about the step ``quantize``."""
    (line,) = [line for line in printed.splitlines() if line.startswith("| quantize ")]
    return [cell.strip() for cell in line.split("|")[1:-1]]


def edited(chain: Chain, folder: Path, change: object) -> Path:
    """Copy the chain's checkpoint with another record."""
    shutil.copytree(chain.last.folder, folder)
    path = folder / CHECKPOINT_FILE
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value["lineage"])  # type: ignore[operator]
    path.write_text(json.dumps(value), encoding="utf-8")
    return folder


def test_teachers_are_known_by_their_weights(
    chain: Chain, lamps_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = edited(
        chain,
        tmp_path / "moved",
        lambda lineage: lineage["distill"]["config"].update(teacher=["gone", "too"]),
    )
    words = [str(moved), "--output", str(tmp_path / "out"), "--dry-run"]
    assert main(words) == 1
    told = capsys.readouterr().err
    assert "step 'distill' read a checkpoint (teacher) with weights of sha256" in told
    assert "which is not at gone; pass its folder with --teacher" in told
    # Another checkpoint will not do.
    assert main([*words, "--teacher", str(chain.folder / "first")]) == 1
    others = [str(chain.folder / "first"), str(lamps_checkpoint)]
    assert main([*words, "--teacher", *others]) == 0
    teachers = f"--teacher {lamps_checkpoint} {tmp_path / 'out' / 'fit'}"
    assert teachers in capsys.readouterr().out


def test_records_that_cannot_be_repeated_are_refused(
    chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = {
        "step 'glue' is of a command that cannot be repeated": lambda lineage: lineage.update(
            glue=lineage["fit"]
        ),
        "step 'fit' has no record of its options": lambda lineage: lineage.update(fit={}),
        "step 'fit', config: unknown keys ['speed']": lambda lineage: lineage["fit"][
            "config"
        ].update(speed=1),
        "config.loop.steps: expected int, got 'x'": lambda lineage: lineage["fit"]["config"][
            "loop"
        ].update(steps="x"),
        "inputs must be digests by name": lambda lineage: lineage["fit"].update(inputs={"data": 1}),
    }
    for number, (message, change) in enumerate(cases.items()):
        folder = edited(chain, tmp_path / str(number), change)
        assert main([str(folder), "--output", str(tmp_path / "out"), "--dry-run"]) == 1
        assert message in capsys.readouterr().err
    words = [str(chain.last.folder), "--output", str(tmp_path / "out")]
    assert main([*words, "--from", "slim"]) == 1
    assert "the chain has the steps ['fit', 'distill'], asked for 'slim'" in capsys.readouterr().err
    # A folder of another record is not taken for a step that is done.
    shutil.copytree(chain.folder / "first", tmp_path / "out" / "fit")
    assert main(words) == 1
    assert "was made with other options" in capsys.readouterr().err
