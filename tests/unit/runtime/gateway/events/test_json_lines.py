from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import ConfigError, DeliveryError
from runtime.gateway.events.json_lines import JsonLines, JsonLinesOptions


def sink(path: Path, **options: Any) -> JsonLines:
    return JsonLines(JsonLinesOptions(path=str(path), **options))


def test_appends_a_line_per_event(tmp_path: Path) -> None:
    path = tmp_path / "new" / "events.jsonl"
    for part in (b"12", b"3"):
        file = sink(path)
        for digit in part:
            file.deliver("id", b'{"n":%c}' % digit)
        file.close()
    assert path.read_bytes() == b'{"n":1}\n{"n":2}\n{"n":3}\n'
    assert path.stat().st_mode & 0o777 == 0o600


def test_rotates_and_forgets(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    file = sink(path, max_bytes=10, keep=2)
    for digit in b"12345678":
        file.deliver("id", b"%c..." % digit)  # two lines of five bytes fit
    file.close()
    contents = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert contents == {
        "events.jsonl": b"7...\n8...\n",
        "events.jsonl.1": b"5...\n6...\n",
        "events.jsonl.2": b"3...\n4...\n",
    }


def test_a_line_longer_than_the_bound_has_a_file_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    file = sink(path, max_bytes=4, keep=1)
    file.deliver("id", b"123456789")
    file.deliver("id", b"987654321")
    file.close()
    assert path.read_bytes() == b"987654321\n"
    assert path.with_name("events.jsonl.1").read_bytes() == b"123456789\n"


@given(st.binary(max_size=300), st.integers(0, 3))
def test_what_a_crash_left_is_cut_off(
    tmp_path_factory: pytest.TempPathFactory, tail: bytes, lines: int
) -> None:
    path = tmp_path_factory.mktemp("lines") / "events.jsonl"
    whole = b"".join(b"line %d\n" % n for n in range(lines))
    half = tail.replace(b"\n", b" ")
    path.write_bytes(whole + half)
    file = sink(path)
    file.deliver("id", b"next")
    file.close()
    assert path.read_bytes() == whole + b"next\n"


def test_a_half_line_longer_than_what_is_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"whole\n" + b"x" * 200_000)
    file = sink(path)
    file.deliver("id", b"next")
    file.close()
    assert path.read_bytes() == b"whole\nnext\n"


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    file = sink(path)
    file.deliver("id", b"first")
    real, calls = os.pwrite, []

    def full(handle: int, data: bytes, offset: int) -> int:
        calls.append(data)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(handle, data[:3], offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(DeliveryError, match="space"):
            file.deliver("id", b"second")
    assert path.read_bytes() == b"first\n"
    file.deliver("id", b"second")
    file.close()
    assert path.read_bytes() == b"first\nsecond\n"


@pytest.mark.parametrize(("fsync", "least", "most"), [("always", 5, 6), ("never", 0, 0),
                                                      ("interval", 1, 1)])  # fmt: skip
def test_how_often_it_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsync: str, least: int, most: int
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    file = sink(tmp_path / "events.jsonl", fsync=fsync, fsync_s=3600)
    for _ in range(5):
        file.deliver("id", b"x")
    file.close()
    assert least <= len(synced) <= most


def test_a_folder_in_the_way_is_told(tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match="directory"):
        sink(tmp_path).deliver("id", b"x")


@pytest.mark.parametrize(
    "options",
    [{"path": ""}, {"max_bytes": 0}, {"keep": -1}, {"fsync": "sometimes"}, {"fsync_s": 0},
     {"name": ""}],
)  # fmt: skip
def test_refuses_what_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        JsonLinesOptions(**{"path": "events.jsonl", **options})
