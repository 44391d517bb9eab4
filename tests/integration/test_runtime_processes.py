"""What only a fresh process shows: vendoring, telemetry, stray files, network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import runtime

READ = """
import json, sys, time
started = time.perf_counter()
import numpy as np
from {package} import Reader
with Reader.open(sys.argv[1]) as reader:
    result = reader.read(np.full((20, 50, 3), 90, np.uint8))
    reader.read_many([np.full((20, 50, 3), 90, np.uint8)] * 3)
    time.sleep(float(sys.argv[2]))
print(json.dumps([result.text, sorted({{m.split(".")[0] for m in sys.modules if sys.modules[m]}})]))
"""


def clean_environment(home: Path, path: Path) -> dict[str, str]:
    """An environment in which nothing tells an engine to keep quiet.

    Engines send no telemetry where CI=true, so that variable would hide what is tested here.
    """
    quiet = ("CI", "TF_BUILD", "GITHUB_", "JENKINS", "BUILD_", "ORT_", "XDG_", "DO_NOT_TRACK")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(quiet)}
    return {**kept, "HOME": str(home), "PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


def test_a_copy_under_another_name_reads(
    tiny_artifact: Path, tmp_path: Path, home: Path, engine: str
) -> None:
    vendored = tmp_path / "vendor"
    source = Path(runtime.__file__).parent
    shutil.copytree(source, vendored / "plates_core", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-c", READ.format(package="plates_core"), str(tiny_artifact), "0"],
        capture_output=True, text=True, cwd=tmp_path, env=clean_environment(home, vendored),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    text, modules = json.loads(done.stdout)
    assert text
    assert not {"torch", "onnx", "nncf", "runtime", "tyro", "rich"} & set(modules)
    others = {"onnx": "openvino", "openvino": "onnxruntime"}
    assert others[engine] not in modules


def test_no_telemetry(tiny_artifact: Path, tmp_path: Path, home: Path) -> None:
    source = Path(runtime.__file__).parents[1]
    command = [sys.executable, "-c", READ.format(package="runtime"), str(tiny_artifact), "3"]
    log = tmp_path / "connects.txt"
    strace = shutil.which("strace")
    if strace is not None:
        command = [strace, "-f", "-qq", "-e", "trace=connect,sendto", "-o", str(log), *command]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=clean_environment(home, source)
    )
    assert done.returncode == 0, done.stderr
    assert [str(path) for path in home.rglob("*")] == []
    assert done.stderr == ""
    if strace is None:
        pytest.skip("no file was written; connections were not watched: strace is not installed")
    calls = log.read_text(encoding="utf-8", errors="replace")
    assert "AF_INET" not in calls


REPLACE = """
import gc, os, signal, sys
import numpy as np
from runtime import Reader
seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append(True))
crop = np.full((20, 50, 3), 90, np.uint8)
old = Reader.open(sys.argv[1])
old.read(crop)
new = Reader.open(sys.argv[1])
new.read(crop)
for reader in (old, new):  # in the order in which a gateway replaces models
    reader.close()
del old, new, reader
gc.collect()
os.kill(os.getpid(), signal.SIGINT)
print(len(seen))
"""


def test_a_signal_is_survived_after_a_model_was_replaced(
    tiny_artifact: Path, home: Path, engine: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REPLACE, str(tiny_artifact)],
        capture_output=True, text=True, cwd=Path(runtime.__file__).parents[1],
        env=clean_environment(home, Path(runtime.__file__).parents[1]),
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr


LEAVE = """
import os, sys
import numpy as np
from runtime import QueueOptions, Reader
crop = np.full((20, 50, 3), 90, np.uint8)
reader = Reader.open(sys.argv[1], queue=QueueOptions(lanes=2))
futures = [reader.submit(crop) for _ in range(200)]
print(futures[0].result().text is not None)
"""


def test_a_process_may_end_while_lanes_work(tiny_artifact: Path, home: Path) -> None:
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", LEAVE, str(tiny_artifact)],
            capture_output=True, text=True, cwd=Path(runtime.__file__).parents[1], timeout=60,
            env=clean_environment(home, Path(runtime.__file__).parents[1]),
        )  # fmt: skip
        assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "True", "")
