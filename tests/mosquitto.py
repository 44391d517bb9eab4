"""A real MQTT broker, where Debian's package ``mosquitto`` is installed, and who listens to it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

__all__ = ["Broker", "Listener"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker:
    """One broker; it can be killed and started again on its port.

    Args:
        folder: For its configuration and log.
        settings: More lines of its configuration.
        anonymous: Whether clients need no password.
    """

    def __init__(self, folder: Path, settings: str = "", *, anonymous: bool = True) -> None:
        program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            reason = "mosquitto is not installed"
            if "mosquitto" in os.environ.get("HEADLIGHT_INSTALLED", "").split():
                pytest.fail(f"{reason}, but HEADLIGHT_INSTALLED names it")
            pytest.skip(reason)
        self._program, self.port = program, _free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous {str(anonymous).lower()}\n"
            f"persistence false\n{settings}\n"
        )
        if os.getuid() == 0:  # it gives up being root unless told not to
            self._config.write_text(self._config.read_text() + "user root\n")
        self._log = folder / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-c", str(self._config)], stdout=log, stderr=log
            )
        end = time.monotonic() + 10
        while not self._answers():
            if time.monotonic() > end:
                self.kill()
                pytest.fail(f"mosquitto does not answer: {self._log.read_text()}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def freeze(self) -> None:
        """Stop it where it stands: connections stay, nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Listener:
    """Subscribes to everything; comes back faster than a gateway does."""

    def __init__(self, port: int) -> None:
        from paho.mqtt import client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        self.messages: list[tuple[str, bytes, bool]] = []
        """Topic, payload, and whether it was retained."""
        self.subscribed = threading.Event()
        client = paho.Client(CallbackAPIVersion.VERSION2, "listener")
        client.on_connect = lambda connected, *_: connected.subscribe("#", 1)
        client.on_disconnect = lambda *_: self.subscribed.clear()
        client.on_subscribe = lambda *_: self.subscribed.set()
        client.on_message = lambda _c, _d, m: self.messages.append(
            (m.topic, bytes(m.payload), m.retain)
        )
        client.reconnect_delay_set(0.02, 0.02)  # type: ignore[arg-type]
        client.connect_async("127.0.0.1", port)
        client.loop_start()
        self._client = client
        assert self.subscribed.wait(10)

    def of(self, topic: str) -> list[bytes]:
        """Payloads under a topic, in order."""
        return [payload for name, payload, _ in self.messages if name == topic]

    def ids(self) -> list[str]:
        """Ids of all events, in order."""
        return [json.loads(payload)["id"] for payload in self.of("headlight/events")]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
