"""What a trial makes of every way in which a child process may end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime import EngineError, IntegrityError, Reader, trial
from runtime.cores import own_cores
from runtime.session import SessionOptions
from runtime.trial import trial_load
from tests.artifacts import TinyNetwork

OPTIONS = SessionOptions(threads=1)


def test_a_good_artifact_passes_and_is_described(tiny_artifact: Path, engine: str) -> None:
    described = trial_load(tiny_artifact, SessionOptions(threads=2, hint="throughput", batch=3))
    assert described["engine"] == {"onnx": "onnxruntime"}.get(engine, engine)
    # OpenVINO takes no more threads than there are cores.
    assert described["threads"] == ("1" if engine == "openvino" and len(own_cores()) == 1 else "2")
    with Reader.open(tiny_artifact, trial=True) as reader:
        assert reader.engine["version"] == described["version"]


def test_paths_that_are_no_strings_are_left_out(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, Path("plugins")])
    assert trial_load(tiny_artifact, OPTIONS)


def test_what_the_child_raises_is_raised_here(make_artifact: Callable[..., Path]) -> None:
    folder = make_artifact(TinyNetwork())
    (folder / "extra").touch()
    with pytest.raises(IntegrityError, match=r"not in the manifest \['extra'\]"):
        trial_load(folder, OPTIONS)


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("import os; os.abort()", "was ended by SIGABRT"),
        ("import os; os.kill(os.getpid(), 40)", "was ended by (signal 40|SIG)"),
        ("import sys; sys.exit('no luck')", r"ended with exit code 1 \(no luck\)"),
        ("print('{}')", "ended with exit code 0"),
        ("print('[]')", "ended with exit code 0"),
        ("print('engines print')", "ended with exit code 0"),
        ("import time; time.sleep(60)", "did not end within 0.5 s"),
        ("1/0", "ZeroDivisionError"),
    ],
)
def test_every_other_end_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, told: str
) -> None:
    monkeypatch.setattr(trial, "_START", program)
    with pytest.raises(EngineError, match=told):
        trial_load(tmp_path, OPTIONS, timeout_s=0.5 if "sleep" in program else 60)


@pytest.mark.parametrize(
    ("name", "value"), [("executable", ""), ("executable", None), ("frozen", True)]
)
def test_without_an_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    monkeypatch.setattr(sys, name, value, raising=False)
    with pytest.raises(EngineError, match="open the artifact without trial"):
        trial_load(tmp_path, OPTIONS)
