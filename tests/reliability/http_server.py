"""A process that serves an artifact until its standard input closes; for R13."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from runtime import Reader
from runtime.gateway.serve.options import ServeOptions
from runtime.gateway.serve.server import Server
from runtime.queue import QueueOptions
from tests.serving import FakeView


def main() -> None:
    reader = Reader.open(
        Path(sys.argv[1]),
        queue=QueueOptions(capacity=64, on_full="drop_newest"),
        keep_scores=True,
    )
    options = ServeOptions(
        port=0,
        allow_reload=True,
        token_variable="GATEWAY_TOKEN",
        receive_timeout_s=1.0,
        keep_alive_s=1.0,
        timeout_s=2.0,
        max_body_mb=2.0,
        max_connections=200,
    )
    with reader, Server(FakeView(reader), options) as server:
        print(server.port, flush=True)
        sys.stdin.read()
        time.sleep(0.05)


if __name__ == "__main__":
    main()
