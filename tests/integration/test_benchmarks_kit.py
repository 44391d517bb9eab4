"""Kits as a device gets them: unpacked elsewhere, in a process of its own, over SSH."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.kit.cli import ARCHIVE, main
from benchmarks.kit.contents import NAME
from tests.engines import require
from tests.unit.benchmarks.kit.plates import parts_of

_SSHD = Path("/usr/sbin/sshd")
_BLOCKED = ("torch", "onnx", "tyro", "rich", "matplotlib", "jinja2", "tomllib", "safetensors")
"""What a device with JetPack 6 and two wheels does not have."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact, crops and a budget."""
    require("onnxruntime")
    folder = tmp_path_factory.mktemp("kit")
    parts_of(folder)
    return folder


def _options(place: Path, *more: object) -> list[str]:
    options = ["--data", place / "data/test.tsv", "--budget", place / "budget.toml"]
    quick = ["--settings.duration", "0.05", "--settings.cold-starts", "1", "--settings.tries", "1"]
    return [str(word) for word in [place / "tiny", *options, *quick, *more]]


@pytest.fixture(scope="module")
def kit(place: Path) -> Path:
    """The kit, unpacked where nothing else of ours is."""
    assert main(_options(place, "--output", place / "packed")) == 0
    with tarfile.open(place / "packed" / ARCHIVE) as tar:
        tar.extractall(place / "device")
    return place / "device" / NAME


def _run(kit: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(
        [str(kit / "run.sh"), *options],
        env={**clean, "PYTHON": sys.executable, **environment},
        cwd=kit.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def test_a_device_without_most_packages_measures_everything(kit: Path, tmp_path: Path) -> None:
    blocker = "import sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in _BLOCKED)
    (tmp_path / "sitecustomize.py").write_text(blocker)
    done = _run(kit, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    results = kit / "results"
    latency, accuracy = (
        json.loads((results / name / "result.json").read_text()) for name in ("latency", "accuracy")
    )
    measured = latency["artifacts"]["tiny"]
    assert measured["read"]["queries"] > 0
    assert measured["picture_decode"]["queries"] > 0
    assert measured["cold_start"]["pss_mb"] > 1
    assert measured["cold_start"]["peak_rss_mb"] >= measured["cold_start"]["pss_mb"]
    assert measured["energy"]["reason"] or measured["energy"]["runs"]
    assert measured["session"]["engine"] == "onnxruntime"
    assert measured["machine"]["before"]["load"]
    assert [each["outcome"] for each in latency["verdicts"]["tiny"]] == ["pass"]
    assert accuracy["verdicts"]["tiny"][0]["outcome"] == "pass"
    summary = json.loads((results / "kit-run.json").read_text())
    assert summary["exit_codes"] == {"latency": 0, "accuracy": 0}
    # Where the kit lies is nobody's business.
    assert str(kit) not in (results / "latency/report.md").read_text()


def test_results_are_not_overwritten_unasked(kit: Path) -> None:
    (kit / "other").mkdir()
    (kit / "other" / "file").touch()
    done = _run(kit, "--output", str(kit / "other"))
    assert done.returncode == 1
    assert "is not empty" in done.stderr


def test_a_damaged_kit_measures_nothing(kit: Path, tmp_path: Path) -> None:
    shutil.copytree(kit, tmp_path / NAME, ignore=shutil.ignore_patterns("results", "other"))
    (tmp_path / NAME / "artifacts/tiny/model.onnx").write_bytes(b"")
    done = _run(tmp_path / NAME)
    assert done.returncode == 1
    assert "not as they were packed" in done.stderr
    assert not (tmp_path / NAME / "results").exists()


def test_a_device_without_the_engine_says_so(kit: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['onnxruntime'] = None\n")
    done = _run(kit, "--output", str(tmp_path / "results"), PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "no artifact of the kit can be opened" in done.stderr
    summary = json.loads((tmp_path / "results" / "kit-run.json").read_text())
    assert "onnxruntime" in next(iter(summary["refused"].values()))


@pytest.fixture
def far_python(tmp_path: Path) -> Path:
    """An interpreter that writes results without measuring, and says where it was started."""
    program = tmp_path / "far python"
    program.write_text(
        "#!/bin/sh\nmkdir -p results/latency && pwd > results/latency/result.json\nexit 3\n"
    )
    program.chmod(0o755)
    return program


def _check_remote(place: Path, tmp_path: Path, *options: object) -> Path:
    """Measure on another machine; return where that was there."""
    code = main(_options(place, "--output", tmp_path / "found", *options))
    assert code == 3  # the other machine's
    there = Path((tmp_path / "found/latency/result.json").read_text().strip())
    assert there.name == NAME
    assert not there.parent.exists()
    return there


def test_a_host_measures_and_is_left_as_it_was(
    place: Path, tmp_path: Path, far_python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As ssh does: the words of the command become one line for the other machine's shell.
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path}/hosts\nshift\nexec sh -c "$*"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", str(ssh.parent), prepend=os.pathsep)
    (tmp_path / "far").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "far"))
    there = _check_remote(place, tmp_path, "--host", "user@box", "--python", far_python)
    assert there.is_relative_to(tmp_path / "far")
    assert set((tmp_path / "hosts").read_text().split()) == {"user@box"}


def test_a_host_where_nothing_runs_is_told(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\nexit 255\n")
    ssh.chmod(0o755)
    options = ("--host", "box", "--ssh", str(ssh), "--output", tmp_path / "found")
    assert main(_options(place, *options)) == 1
    assert "cannot be copied to box" in capsys.readouterr().err
    assert not (tmp_path / "found").exists()


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[str]:
    """A real server on this machine, with keys of its own; the ssh command that reaches it."""
    if not (_SSHD.exists() and shutil.which("ssh-keygen")):
        pytest.skip("openssh-server is not installed")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # which it wants when it is root
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True
        )
    (tmp_path / "allowed").write_text((tmp_path / "user.pub").read_text())
    (tmp_path / "allowed").chmod(0o600)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": tmp_path / "host",
        "AuthorizedKeysFile": tmp_path / "allowed",
        "PidFile": "none",
        "UsePAM": "no",
        "StrictModes": "no",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
    }
    (tmp_path / "config").write_text("".join(f"{key} {text}\n" for key, text in settings.items()))
    server = subprocess.Popen([str(_SSHD), "-D", "-e", "-f", str(tmp_path / "config")])
    options = f"-p {port} -i {tmp_path / 'user'} -F none -o StrictHostKeyChecking=no"
    command = f"ssh {options} -o UserKnownHostsFile={tmp_path / 'known'} -o BatchMode=yes -q"
    try:
        for _ in range(50):
            if subprocess.run([*command.split(), "127.0.0.1", "true"], check=False).returncode == 0:
                break
            time.sleep(0.1)
        else:
            pytest.skip("sshd lets nobody in here, this account may be locked")
        yield command
    finally:
        server.terminate()
        server.wait(10)


def test_a_real_ssh_server(place: Path, tmp_path: Path, sshd: str, far_python: Path) -> None:
    _check_remote(place, tmp_path, "--host", "127.0.0.1", "--ssh", sshd, "--python", far_python)
