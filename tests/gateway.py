"""A gateway in a process of its own, as systemd would run it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import cv2

from tests.artifacts import random_images
from tests.engines import require

__all__ = ["ONE_CAMERA", "ROOT", "RunningGateway", "require_gateway", "write_pictures"]

ROOT = Path(__file__).parents[1]
_START_S = 60.0
ONE_CAMERA = """
[[camera]]
name = "gate"
url = "{pictures}"
fps = 10
loop = true
[camera.reading]
stable_frames = 1
[camera.reading.tracks]
presence = 0.0
"""
"""Of a gateway's configuration: a camera that shows ``{pictures}`` in turn."""


def require_gateway() -> None:
    """Skip the test where the packages of the extra ``gateway`` are missing."""
    for package in ("msgspec", "starlette", "uvicorn", "prometheus_client", "paho"):
        require(package)


def write_pictures(folder: Path, count: int = 4) -> Path:
    """Write pictures for a camera that shows them in turn."""
    folder.mkdir()
    for number, image in enumerate(random_images(count)):
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return folder


class RunningGateway:
    """``python -m runtime.gateway.app``, with a service manager that listens.

    Args:
        config: ``gateway.toml``.
        folder: For the socket and the log.
        program: Instead of the command, such as one that breaks something first.
        watchdog_s: How often signs of life are due.
        environment: More variables.
    """

    def __init__(
        self,
        config: Path,
        folder: Path,
        *,
        program: Sequence[str] = ("-m", "runtime.gateway.app"),
        watchdog_s: float = 1.0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.heard: list[str] = []
        self.log = folder / "gateway.log"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._listener.bind(str(folder / "notify"))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *program, str(config)],
                stdout=log,
                stderr=log,
                cwd=folder,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    "NOTIFY_SOCKET": str(folder / "notify"),
                    "WATCHDOG_USEC": str(round(watchdog_s * 1e6)),
                    **(environment or {}),
                },
            )

    def listen(self, seconds: float, until: str = "\0") -> bool:
        """Hear what systemd would; True as soon as a message begins with ``until``."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._listener.settimeout(min(left, 0.5))
            try:
                message = self._listener.recv(4096).decode()
            except TimeoutError:
                if self.process.poll() is not None:
                    return False
                continue
            self.heard.append(message)
            if message.startswith(until):
                return True
        return False

    def wait_ready(self) -> None:
        """Return when it says so; fail with its log if it ends instead."""
        assert self.listen(_START_S, "READY=1"), self.log.read_text(encoding="utf-8")

    @property
    def url(self) -> str:
        """Where it serves."""
        text = self.log.read_text(encoding="utf-8")
        return text.partition("serving at ")[2].split()[0]

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self, timeout_s: float = 30.0) -> int:
        """Ask it to end and return its exit code."""
        if self.process.poll() is None:
            self.send(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def __enter__(self) -> RunningGateway:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait(10)
        self._listener.close()
