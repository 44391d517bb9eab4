"""``python -m compress.search`` on a tiny network, through its command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import benchmarks.scenarios.warming
import benchmarks.speed.measuring
import compress.search.measuring
import compress.search.search
import compress.slim.comparison
from benchmarks.scenarios import compare_interleaved
from compress.search.cli import main
from runtime.manifest import Manifest
from tests.slimming import write_lamps
from train.checkpoint import load_checkpoint

SPACE = ("--targets", "0", "0.6", "--engines", "onnx", "--precisions", "int8")
STEPS = ("--sparse-steps", "10", "--tune-steps", "40", "--proxy", "0.5", "--batch", "16")
LOOSE = {"accuracy.exact": {"min": 0.5}, "size.engine_mb": {"max": 0.2}}
"""Only the slimmed network, 0.12 MB in INT8, keeps this; the whole one has 0.26 MB."""
TIGHT = {"accuracy.exact": {"min": 1.0}, "size.engine_mb": {"max": 0.2}}
"""No 96 crops prove that a network is always right."""


@pytest.fixture(scope="module", autouse=True)
def _quick(one_thread: None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        short = partial(compare_interleaved, rounds=5, block_s=0.001)
        for module in (
            compress.slim.comparison,
            compress.search.measuring,
            benchmarks.speed.measuring,
        ):
            patch.setattr(module, "compare_interleaved", short)
        patch.setattr(compress.search.measuring, "_QUICK_S", 0.05)
        brief = partial(benchmarks.scenarios.warm_up, min_s=0.05, max_s=0.1)
        patch.setattr(benchmarks.scenarios.warming, "warm_up", brief)
        for module in (compress.search.measuring, benchmarks.speed.measuring):
            patch.setattr(module, "quietest", lambda measure, tries: measure())
        yield


def search(lamps: Path, checkpoint: Path, output: Path, limits: object, *more: str) -> int:
    budget = output.with_suffix(".toml")
    budget.write_text(budget_text(limits), encoding="utf-8")
    train = str(lamps / "train")
    return main(
        [
            *(str(checkpoint), "--budget", str(budget), "--output", str(output)),
            *("--data", train, "--calibration", train, "--validation", str(lamps / "val")),
            *("--samples", "64", "--duration", "0.1", "--threads", "1", *SPACE, *STEPS, *more),
        ]
    )


def budget_text(limits: object) -> str:
    assert isinstance(limits, dict)
    rows = [
        f'{{ metric = "{metric}", {bound} = {value} }}'
        for metric, bounds in limits.items()
        for bound, value in bounds.items()
    ]
    return f"schema = 1\nlimits = [{', '.join(rows)}]\n"


@pytest.fixture(scope="module")
def output(lamps: Path, lamps_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that found something; its run waits beside it."""
    folder = tmp_path_factory.mktemp("search") / "found"
    assert search(lamps, lamps_checkpoint, folder, LOOSE, "--confirm", "1") == 0
    return folder


def test_the_output_holds_the_artifact_its_checkpoint_and_all_trials(
    output: Path, lamps_checkpoint: Path
) -> None:
    manifest = Manifest.load(output / "best")
    manifest.check_files(output / "best")
    checkpoint = load_checkpoint(output / "checkpoint")
    assert list(checkpoint.lineage)[:2] == ["fit", "slim"]
    slimmed = checkpoint.lineage["slim"]
    assert slimmed["inputs"]["checkpoint"] == load_checkpoint(lamps_checkpoint).digest
    assert slimmed["config"]["tune_steps"] == 40
    result = json.loads((output / "result.json").read_text(encoding="utf-8"))
    assert result["outcome"] == "pass"
    assert result["best"] == "w1-t0.6-int8-onnx"
    whole, slimmed_one = result["candidates"]
    assert "misses size.engine_mb <= 0.2 by" in whole["note"]
    assert not whole["short_training"]
    assert slimmed_one["short_training"]
    assert slimmed_one["full_training"]
    assert (output / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert "| w1-t0-int8-onnx" in (output / "report.md").read_text(encoding="utf-8")
    assert (output / "junit.xml").exists()


def test_the_same_search_trains_nothing_again_and_says_what_is_not_proven(
    output: Path,
    lamps: Path,
    lamps_checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = {path: path.stat().st_mtime_ns for path in weights(output)}
    assert search(lamps, lamps_checkpoint, output, TIGHT, "--overwrite") in (1, 3)
    told = capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in weights(output)} == before
    wrong = json.loads((output / "result.json").read_text(encoding="utf-8"))["outcome"] == "fail"
    line = "nearest miss: w1-t0.6-int8-onnx" if wrong else "not proven: accuracy.exact >= 1: "
    assert line in told
    assert (output / ("nearest" if wrong else "best") / "artifact.json").exists()


def weights(output: Path) -> list[Path]:
    return sorted((output.parent / "found.run").rglob("*.safetensors"))


def test_a_budget_out_of_reach_trains_nothing_and_says_so(
    output: Path, lamps: Path, lamps_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = {"size.engine_mb": {"max": 0.001}}
    assert search(lamps, lamps_checkpoint, output, tiny, "--overwrite") == 1
    told = capsys.readouterr().out
    assert "no candidate keeps the budget" in told
    assert "binds: size.engine_mb <= 0.001; the nearest miss has" in told
    assert "w1-t0.6-int8-onnx, judged by its speed and size" in told
    assert not (output / "best").exists()


def test_a_limit_that_is_not_measured_here_ends_it_before_any_work(
    lamps: Path, lamps_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(lamps, lamps_checkpoint, tmp_path / "out", {"size.gpu_mb": {"max": 1}}) == 1
    assert "error: limit on size.gpu_mb <= 1: no artifact could keep" in capsys.readouterr().err
    assert not [*tmp_path.rglob("*.safetensors")]


def test_a_run_of_other_settings_is_refused(
    output: Path, lamps: Path, lamps_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ("--overwrite", "--tune-steps", "41", "--seed", "5")
    assert search(lamps, lamps_checkpoint, output, LOOSE, *other) == 1
    assert "holds trials of other settings (seed, tune_steps)" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["data", "validation", "calibration"])
def test_a_run_by_other_crops_is_refused(
    lamps: Path,
    lamps_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    write_lamps(tmp_path / "list", 64, seed=2)
    # Beyond the check there are hours of work.
    monkeypatch.setattr(compress.search.search, "screen", _begun)
    more = (f"--{name}", str(tmp_path / "list"))
    output = tmp_path / "out"
    with pytest.raises(_BegunError):
        search(lamps, lamps_checkpoint, output, LOOSE, *more)
    with pytest.raises(_BegunError):
        search(lamps, lamps_checkpoint, output, LOOSE, *more)
    table = tmp_path / "list" / "labels.tsv"
    text = table.read_text(encoding="utf-8")
    table.write_text(text.replace("left", "right"), encoding="utf-8")
    assert search(lamps, lamps_checkpoint, output, LOOSE, *more) == 1
    assert f"trials of other settings (the crops of --{name}); give" in capsys.readouterr().err


class _BegunError(Exception):
    """The work began."""


def _begun(*_: object) -> None:
    raise _BegunError


def test_a_run_that_did_not_note_its_crops_is_refused(
    lamps: Path, lamps_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "out.run"
    run.mkdir()
    (run / "search.json").write_text('{"seed": 0}', encoding="utf-8")
    assert search(lamps, lamps_checkpoint, tmp_path / "out", LOOSE) == 1
    assert "holds trials of an earlier version" in capsys.readouterr().err


def test_a_worker_needs_the_search_that_it_helps(
    lamps: Path, lamps_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(lamps, lamps_checkpoint, tmp_path / "alone", LOOSE, "--worker") == 1
    assert "start the search itself first" in capsys.readouterr().err


def test_a_quantised_checkpoint_is_no_start(
    lamps: Path, lamps_int8: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(lamps, lamps_int8, tmp_path / "out", LOOSE) == 1
    assert "is quantised; search from the float checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "out.run").exists()
