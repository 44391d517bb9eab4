"""R10: engines and the gateway neither call home nor write anywhere.

Processes run in a network namespace without a network, under strace, with a fresh home and without
``CI``, which silences the telemetry of engines. A process that does both is the control.

Temporary files are counted apart: ONNX Runtime tells only in a file which kernels it runs, and the
session removes it. They must be in ``TMPDIR`` and gone afterwards.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.artifacts import TinyNetwork, write_artifact
from tests.engines import ENGINES, require

pytestmark = pytest.mark.reliability

ROOT = Path(__file__).parents[2]
CALLS = (
    "connect,sendto,sendmsg,open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,"
    "symlink,symlinkat,mknod,mknodat,truncate"
)
WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC")
HARMLESS = ("/dev/null", "/dev/tty", "/proc/self/", "/dev/shm/", "anon_inode:", "pipe:")
"""What a write changes nothing of. Shared memory goes with the process."""


@dataclass(frozen=True)
class Seen:
    """What a process did."""

    connects: Sequence[str]
    """Calls that name an internet address."""
    writes: Sequence[str]
    """Calls that make or change a file that is neither the terminal's nor temporary."""
    left: Sequence[str]
    """Files in the home folder and among the temporary ones afterwards."""
    temporary: int
    """Calls that made a temporary file."""

    @property
    def nothing(self) -> bool:
        """Whether no trace of the process is left anywhere."""
        return not (self.connects or self.writes or self.left)


@pytest.fixture
def watch(tmp_path: Path, full: bool) -> Callable[[str, Path], Seen]:
    """Run ``offline_process`` in a namespace and under strace."""
    for tool in ("strace", "unshare"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    namespace = (
        ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
    )
    if subprocess.run([*namespace, "true"], capture_output=True).returncode:
        pytest.skip("this system allows no network namespaces")
    if subprocess.run(["strace", "-e", "trace=none", "true"], capture_output=True).returncode:
        pytest.skip("this system allows no strace")

    def run(what: str, artifact: Path) -> Seen:
        fresh, log = tmp_path / f"fresh-{what}", tmp_path / f"{what}.strace"
        home, temporary = fresh / "home", fresh / "tmp"
        for folder in (fresh, home, temporary):
            folder.mkdir()
        environment = {
            "HOME": str(home),
            "TMPDIR": str(temporary),
            "PATH": os.environ["PATH"],
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(ROOT),
            "LANG": "C.UTF-8",
        }
        seconds = "10" if full else "0.5"
        command = [
            *namespace, "strace", "-f", "-qq", "-s", "256", "-e", f"trace={CALLS}",
            "-e", "signal=none", "-o", str(log), sys.executable, "-m",
            "tests.reliability.offline_process", what, str(artifact), seconds,
        ]  # fmt: skip
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return judged(log.read_text(encoding="utf-8", errors="replace"), fresh)

    return run


def judged(log: str, fresh: Path) -> Seen:
    lines = [line.partition(" ")[2].strip() for line in log.splitlines()]
    connects = [line for line in lines if "sa_family=AF_INET" in line]
    writes: list[str] = []
    temporary = 0
    for line in lines:
        call = line.partition("(")[0]
        failed = re.search(r"\) = -1 E", line) is not None
        opens = call in ("open", "openat")
        if (
            failed
            or call in ("connect", "sendto", "sendmsg")
            or (opens and not WRITING.search(line))
        ):
            continue
        path = re.search(r'"([^"]*)"', line)
        if path is None or path[1].startswith(HARMLESS):
            continue
        if path[1].startswith(f"{fresh}/tmp/"):
            temporary += 1
        else:
            writes.append(line)
    left = sorted(str(path.relative_to(fresh)) for path in fresh.glob("*/*"))
    return Seen(connects, writes, left, temporary)


def note(count: Any, what: str, seen: Seen) -> None:
    count(
        f"R10 {what}",
        internet_connects=len(seen.connects),
        files_written=len(seen.writes),
        files_left=len(seen.left),
        temporary_files=seen.temporary,
    )


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_an_engine_reads_without_network_and_files(
    watch: Any, tmp_path: Path, count: Any, engine: str
) -> None:
    require(ENGINES[engine])
    write_artifact(tmp_path / "artifact", TinyNetwork(), engine=engine)
    seen = watch("read", tmp_path / "artifact")
    note(count, engine, seen)
    assert seen.nothing, seen


def test_tflite_reads_without_network_and_files(
    watch: Any, valid_artifacts: Callable[[str], Path], count: Any, full: bool
) -> None:
    if not full:
        count("R10 tflite", skipped=True)
        pytest.skip("converting a network takes seconds: `make reliability`")
    seen = watch("read", valid_artifacts("tflite"))
    note(count, "tflite", seen)
    assert seen.nothing, seen


def test_the_gateway_serves_without_network_and_files(
    watch: Any, tmp_path: Path, count: Any
) -> None:
    for package in ("onnxruntime", "av", "paho"):
        require(package)
    write_artifact(tmp_path / "artifact", TinyNetwork())
    seen = watch("gateway", tmp_path / "artifact")
    note(count, "gateway", seen)
    assert seen.nothing, seen


def test_a_process_that_does_both_is_seen(watch: Any, tmp_path: Path, count: Any) -> None:
    seen = watch("liar", tmp_path)
    note(count, "control", seen)
    assert len(seen.connects) == 1
    assert len(seen.writes) == 1
    assert seen.left == ["home/identifier"]
    assert not seen.nothing
