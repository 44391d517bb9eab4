from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from benchmarks.kit.remote import Remote, extract_results
from runtime.errors import ConfigError


def _tar(*members: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    stream.seek(0)
    return stream


def _file(name: str, content: bytes = b"x") -> tuple[tarfile.TarInfo, bytes]:
    return tarfile.TarInfo(name), content


def test_results_come_back_as_they_were(tmp_path: Path) -> None:
    extract_results(_tar(_file("results/a.json", b"1"), _file("results/b/c.md", b"2")), tmp_path)
    assert (tmp_path / "a.json").read_bytes() == b"1"
    assert (tmp_path / "b/c.md").read_bytes() == b"2"


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/passwd", "results/../../outside", "elsewhere/a", "resultsx/a"]
)
def test_files_outside_the_results_are_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in" / "here"
    folder.mkdir(parents=True)
    with pytest.raises(ConfigError, match="no plain file"):
        extract_results(_tar(_file(name)), folder)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("results/link")
    member.type, member.linkname = kind, "/etc/passwd"
    with pytest.raises(ConfigError, match="no plain file"):
        extract_results(_tar((member, b"")), tmp_path)


def test_something_else_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no tar file"):
        extract_results(io.BytesIO(b"Permission denied" * 100), tmp_path)


@pytest.mark.parametrize("host", ["", "-oProxyCommand=touch x", "user@box extra"])
def test_hosts_that_ssh_would_misread_are_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="--host"):
        Remote(host=host)


def test_an_ssh_that_is_missing_or_fails_is_told(tmp_path: Path) -> None:
    kit = tmp_path / "kit.tar.gz"
    kit.write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot be started"):
        Remote(host="box", ssh=(str(tmp_path / "missing"),)).run(kit, tmp_path)
    with pytest.raises(ConfigError, match="cannot be copied to box"):
        Remote(host="box", ssh=("false",)).run(kit, tmp_path)


def test_a_place_that_is_no_path_is_never_used(tmp_path: Path) -> None:
    kit = tmp_path / "kit.tar.gz"
    kit.write_bytes(b"")
    log = tmp_path / "log"
    ssh = tmp_path / "ssh"
    ssh.write_text(f'#!/bin/sh\necho "$@" >> {log}\necho "/tmp/x; rm -rf /"\n')
    ssh.chmod(0o755)
    with pytest.raises(ConfigError, match="cannot be copied"):
        Remote(host="box", ssh=(str(ssh),)).run(kit, tmp_path)
    assert len(log.read_text().splitlines()) == 1  # nothing was run in that place
