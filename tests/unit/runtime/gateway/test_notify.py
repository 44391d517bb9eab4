from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.gateway.notify import Watchdog, notify, watchdog_interval_s


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What systemd listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listener


def test_systemd_hears_the_message(manager: socket.socket) -> None:
    assert notify("READY=1\nSTATUS=two cameras")
    assert manager.recv(100) == b"READY=1\nSTATUS=two cameras"


def test_abstract_address(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"headlight-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        listener.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        assert notify("STOPPING=1")
        assert listener.recv(100) == b"STOPPING=1"


def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    assert not notify("READY=1")


def test_a_full_socket_does_not_hang(manager: socket.socket) -> None:
    sent = [notify("WATCHDOG=1") for _ in range(2000)]
    assert sent[0]
    assert not sent[-1]


@pytest.mark.parametrize(
    ("usec", "pid", "expected"),
    [
        ("15000000", "", 15.0),
        ("15000000", "own", 15.0),
        ("15000000", "1", None),
        ("0", "", None),
        ("soon", "", None),
        (None, "", None),
    ],
)
def test_interval(
    usec: str | None, pid: str, expected: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    if usec is not None:
        monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)
    assert watchdog_interval_s() == expected


def test_pings_until_it_ails(manager: socket.socket) -> None:
    reason = ""
    with Watchdog(lambda: reason, interval_s=0.1):
        assert [manager.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        reason = "an engine call has been running for 12 s"
        while (heard := manager.recv(200)) == b"WATCHDOG=1":
            pass
        assert heard == b"STATUS=ailing: an engine call has been running for 12 s"
        manager.settimeout(0.3)
        with pytest.raises(TimeoutError):
            manager.recv(100)
        reason = ""
        manager.settimeout(5)
        assert manager.recv(100) == b"WATCHDOG=1"


def test_a_check_that_raises_or_hangs_is_no_sign_of_life(manager: socket.socket) -> None:
    manager.settimeout(0.3)

    def broken() -> str:
        raise KeyError("camera")

    with Watchdog(broken, interval_s=0.05):
        assert manager.recv(100) == b"STATUS=ailing: KeyError: 'camera'"
        with pytest.raises(TimeoutError):
            manager.recv(100)
    released = threading.Event()

    def hangs() -> str:
        released.wait(10)
        return ""

    with Watchdog(hangs, interval_s=0.05):
        with pytest.raises(TimeoutError):
            manager.recv(100)
        released.set()


def test_no_interval_no_thread(manager: socket.socket) -> None:
    with Watchdog(lambda: "", interval_s=None):
        manager.settimeout(0.2)
        with pytest.raises(TimeoutError):
            manager.recv(100)
