"""Ctrl-C in the middle of every long command: nothing half-written, and the same command goes on.

Commands run as processes of their own, in a group of their own, and the signal goes to the whole
group, as a terminal sends it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.slimming import SPEC
from tests.training import write_schema

ROOT = Path(__file__).parents[2]
PATIENCE_S = 240.0


@contextmanager
def started(place: Path, arguments: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``python -m ARGUMENTS`` with a folder of its own for temporary files."""
    temporary = place / "tmp"
    temporary.mkdir(exist_ok=True)
    with (place / "out.txt").open("wb") as out, (place / "err.txt").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"},
            stdout=out,
            stderr=err,
            start_new_session=True,
            # A background job of a script inherits an ignored Ctrl-C; a terminal's does not.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def errors(place: Path) -> str:
    return (place / "err.txt").read_text(encoding="utf-8")


def interrupt(
    place: Path,
    arguments: Sequence[str],
    when: Callable[[], bool],
    number: signal.Signals = signal.SIGINT,
) -> int:
    """Run, press Ctrl-C as soon as ``when`` says so, and return the exit code."""
    with started(place, arguments) as process:
        patience = time.monotonic() + PATIENCE_S
        while not when():
            if process.poll() is not None or time.monotonic() > patience:
                pytest.fail(f"it ended or hung before the signal: {errors(place)}")
            time.sleep(0.005)
        os.killpg(process.pid, number)
        return process.wait(PATIENCE_S)


def left(place: Path) -> set[str]:
    """Everything in ``place`` but what the test itself put there."""
    ours = {"out.txt", "err.txt", "tmp", "schema.json", "plan.toml"}
    return {path.name for path in place.iterdir()} - ours


def scratch(place: Path) -> list[str]:
    """Temporary files that are still there; torch keeps a cache of its own."""
    names = [path.name for path in (place / "tmp").iterdir()]
    return [name for name in names if not name.startswith("torchinductor_")]


def finish(place: Path, arguments: Sequence[str]) -> None:
    with started(place, arguments) as process:
        code = process.wait(PATIENCE_S)
    assert code == 0, errors(place)
    assert left(place) == {"result"}
    assert not scratch(place)


def check_interrupted(place: Path, code: int, *, remains: set[str]) -> None:
    assert code == 1, errors(place)
    assert errors(place).splitlines()[-1].startswith("error: interrupted")
    assert "Traceback" not in errors(place)
    assert left(place) == remains
    assert not list(place.rglob("*.partial*"))
    assert not scratch(place)


def said(place: Path, words: str) -> Callable[[], bool]:
    return lambda: words in errors(place)


def test_synth(tmp_path: Path) -> None:
    arguments = [
        *("train.synth", "latin-plate", "-n", "800", "--workers", "2"),
        *("-o", str(tmp_path / "result")),
    ]

    def rendering() -> bool:
        return any(tmp_path.glob("result.partial-*/images/000/*.jpg"))

    code = interrupt(tmp_path, arguments, rendering)
    check_interrupted(tmp_path, code, remains=set())
    finish(tmp_path, [*arguments[:3], "50", *arguments[4:]])


def test_fit(lamps: Path, tmp_path: Path) -> None:
    arguments = [
        *("train.fit", "tiny", "--schema", str(write_schema(tmp_path / "schema.json"))),
        *("--data", str(lamps / "train"), "--validation", str(lamps / "val")),
        *("--output", str(tmp_path / "result"), "--threads", "1"),
        *("--imgsz", str(SPEC.height), str(SPEC.width), "--network.sizes", "width=8"),
        *("--loop.steps", "24", "--loop.batch", "16", "--loop.validate-every", "2"),
    ]
    code = interrupt(tmp_path, arguments, said(tmp_path, "step 4:"))
    check_interrupted(tmp_path, code, remains={"result.run"})
    finish(tmp_path, arguments)
    assert "going on after step " in errors(tmp_path)


def test_study(lamps: Path, tmp_path: Path) -> None:
    lists = f'["tiny", "--data", "{lamps}/train", "--validation", "{lamps}/val",'
    plan = tmp_path / "plan.toml"
    plan.write_text(
        f"""title = "lamps"
show = ["accuracy.exact"]
train = {lists} "--schema", "derive:colour,side", "--imgsz", "{SPEC.height}", "{SPEC.width}",
         "--network.sizes", "width=8", "--loop.steps", "24", "--loop.batch", "16",
         "--loop.validate-every", "2"]
[tests]
val = "{lamps}/val"
[variants]
first = []
second = ["--loop.steps", "2"]
""",
        encoding="utf-8",
    )
    result = tmp_path / "result"
    arguments = ["train.study", str(plan), "--data", str(lamps), "--output", str(result)]
    arguments += ["--seeds", "0", "--variants", "first", "second"]
    log = result / "first-s0.log"

    def reached(words: str) -> Callable[[], bool]:
        return lambda: log.exists() and words in log.read_text(encoding="utf-8")

    # Ctrl-C, and what ends a service: trainings get neither by themselves.
    for words, number in (("step 4:", signal.SIGINT), ("step 12:", signal.SIGTERM)):
        assert interrupt(tmp_path, arguments, reached(words), number) == 1
        # The run saved its state, and the next one was not begun.
        assert (result / "first-s0.run").is_dir()
        assert not (result / "second-s0.log").exists()
        assert not (result / "study.md").exists()
    finish(tmp_path, arguments)
    assert "going on after step " in log.read_text(encoding="utf-8")
    assert (result / "study.md").is_file()


def test_slim(lamps_checkpoint: Path, lamps: Path, tmp_path: Path) -> None:
    arguments = [
        *("compress.slim", str(lamps_checkpoint), "--target", "0.3", "--threads", "1"),
        *("--data", str(lamps / "train"), "--validation", str(lamps / "val"), "--batch", "16"),
        *("--sparse-steps", "4", "--tune-steps", "16", "--validate-every", "2"),
        *("--output", str(tmp_path / "result")),
    ]
    code = interrupt(tmp_path, arguments, said(tmp_path, "step 6:"))
    check_interrupted(tmp_path, code, remains={"result.run"})
    finish(tmp_path, arguments)


def test_quantize(lamps_checkpoint: Path, lamps: Path, tmp_path: Path) -> None:
    arguments = [
        *("compress.quantize", str(lamps_checkpoint), "--samples", "64"),
        *("--calibration", str(lamps / "train"), "--validation", str(lamps / "val")),
        *("--output", str(tmp_path / "result")),
    ]
    code = interrupt(tmp_path, arguments, said(tmp_path, "calibrating on 64 crops"))
    check_interrupted(tmp_path, code, remains=set())
    finish(tmp_path, arguments)


def test_export(lamps_checkpoint: Path, lamps: Path, tmp_path: Path) -> None:
    arguments = [
        *("export.onnx", str(lamps_checkpoint), "--validation", str(lamps / "val")),
        *("--output", str(tmp_path / "result")),
    ]
    code = interrupt(tmp_path, arguments, lambda: any(tmp_path.glob(".result.*.partial")))
    check_interrupted(tmp_path, code, remains=set())
    finish(tmp_path, arguments)
