"""What R10 watches: one engine that reads, the whole gateway, or a liar as a control.

Run with the names of what to do and where; everything else of the process is the runtime's own.
"""

from __future__ import annotations

import importlib
import pkgutil
import socket
import sys
import time
from pathlib import Path

import numpy as np


def read(artifact: str, seconds: float) -> None:
    """Open an artifact, read, and stay for a while: telemetry is sent later."""
    from runtime import Reader

    with Reader.open(artifact) as reader:
        until = time.monotonic() + seconds
        image = np.zeros((20, 60, 3), np.uint8)
        while True:
            reader.read(image)
            if time.monotonic() >= until:
                break
            time.sleep(0.1)


def gateway(artifact: str, seconds: float) -> None:
    """Import every module of the gateway, and serve."""
    import runtime.gateway
    from runtime import Reader
    from runtime.gateway.serve.options import ServeOptions
    from runtime.gateway.serve.server import Server
    from runtime.queue import QueueOptions
    from tests.serving import FakeView

    loopback_up()
    for module in pkgutil.walk_packages(runtime.gateway.__path__, "runtime.gateway."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    reader = Reader.open(artifact, queue=QueueOptions(), keep_scores=True)
    with reader, Server(FakeView(reader), ServeOptions(port=0)):
        time.sleep(seconds)


def loopback_up() -> None:
    """A new network namespace has its loopback down; nothing could listen there."""
    import fcntl
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        up_and_running = struct.pack("16sh", b"lo", 0x41)
        fcntl.ioctl(any_socket, 0x8914, up_and_running)  # SIOCSIFFLAGS


def liar(_: str, seconds: float) -> None:
    """Write into the home folder and call home."""
    (Path.home() / "identifier").write_text("x")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        any_socket.connect_ex(("192.0.2.1", 53))
    time.sleep(seconds)


if __name__ == "__main__":
    {"read": read, "gateway": gateway, "liar": liar}[sys.argv[1]](sys.argv[2], float(sys.argv[3]))
