"""Training in two processes on the CPU: the same network as one process trains, or an error."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.ranks import train_lamps
from train.fit import main

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).parents[2]
Weights = dict[str, torch.Tensor]


def torchrun(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.run(
        [*command, "--nproc-per-node", "2", "-m", *map(str, arguments)],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(lamps: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes trained, went on after a signal, and left a run unfinished."""
    folder = tmp_path_factory.mktemp("ranks")
    done = torchrun("tests.ranks", "train", lamps, folder)
    assert done.returncode == 0, done.stderr
    # Rank 1 is silent.
    assert done.stderr.count("step 8: loss") == 2
    return folder


def weights(folder: Path, name: str, rank: int) -> Weights:
    return load_file(folder / f"{name}-{rank}.safetensors")


def assert_same(found: Weights, expected: Weights) -> None:
    """Within rounding: sums of FP32 are ordered differently, which 8 steps make 4e-6."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=2e-5, msg=name)


def test_two_processes_train_the_network_of_one(trained: Path, lamps: Path, tmp_path: Path) -> None:
    alone = train_lamps(lamps, tmp_path / "run")
    first, second = (weights(trained, "whole", rank) for rank in (0, 1))
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    assert_same(first, alone.state_dict())


def test_a_signal_to_one_process_stops_both_and_the_run_goes_on(trained: Path) -> None:
    whole, resumed = (weights(trained, name, 0) for name in ("whole", "resumed"))
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())


def test_one_process_goes_on_with_a_run_of_two(trained: Path, lamps: Path) -> None:
    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1

    network = train_lamps(lamps, trained / "left", count)
    assert steps == 3
    assert_same(network.state_dict(), weights(trained, "whole", 0))


# ---- train.fit under torchrun -----------------------------------------------------------------


def arguments(lamps: Path, output: Path) -> list[str]:
    return [
        "tiny",
        *("--data", str(lamps / "train"), "--validation", str(lamps / "val")),
        *("--output", str(output), "--schema", "derive:colour,side", "--imgsz", "16", "32"),
        *("--network.sizes", "width=8", "last_width=16", "--threads", "1"),
        *("--loop.steps", "6", "--loop.batch", "8", "--loop.validate-every", "3"),
        *("--loop.optim.warmup", "2", "--loop.precision", "fp32"),
    ]


def test_fit_writes_one_checkpoint(lamps: Path, tmp_path: Path) -> None:
    done = torchrun("train.fit", *arguments(lamps, tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["validation", "wrote"]
    assert done.stderr.count("step 6: loss") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["two"]
    assert main(arguments(lamps, tmp_path / "one")) == 0
    found, alone = (load_file(tmp_path / n / "weights.safetensors") for n in ("two", "one"))
    assert_same(found, alone)


def test_a_killed_process_ends_the_others_within_seconds(lamps: Path, tmp_path: Path) -> None:
    done = torchrun("tests.ranks", "killed", *arguments(lamps, tmp_path / "out"))
    ended = time.time()
    assert done.returncode != 0
    assert "error: process 0 of 2: another process ended or did not answer" in done.stderr
    (killed,) = re.findall(r"killed at ([\d.]+)", done.stderr)
    assert ended - float(killed) < 30  # a live but silent one is given 600 s
    assert not list(tmp_path.iterdir())
    assert not done.stdout


def test_other_commands_refuse_to_run_as_several(
    lamps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime.errors import ConfigError

    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="torchrun started 2 processes of a command that runs in"):
        train_lamps(lamps, tmp_path / "run")
