"""A gateway for tests of its HTTP server: a real reader on a tiny network, and rows to change."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import cv2
import numpy as np

from runtime.arrays import Image
from runtime.gateway.cameras.status import CameraStatus
from runtime.gateway.events.status import SinkStatus
from runtime.gateway.pipeline_status import PipelineStatus
from runtime.gateway.serve.options import ServeOptions
from runtime.gateway.serve.server import Server
from runtime.gateway.serve.view import LatestRead, VersionRow
from runtime.queue import QueueOptions
from runtime.reader import Reader
from tests.artifacts import TinyNetwork
from tests.sessions import FakeSession, fake_reader

__all__ = [
    "CAMERA",
    "PIPELINE",
    "SINK",
    "TOKEN",
    "FakeView",
    "ask",
    "jpeg",
    "serving",
    "tiny_reader",
]

TOKEN = "0123456789abcdef-token"
STARTED = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)


CAMERA = CameraStatus(
    name="gate",
    url="rtsp://camera/gate",
    state="running",
    reason="",
    fps=15.0,
    frames=900,
    taken=870,
    skipped=30,
    corrupt=2,
    withheld=7,
    decode_errors=1,
    gaps=3,
    reconnects=4,
    age_s=0.05,
    width=1280,
    height=720,
    left_behind=False,
)
PIPELINE = PipelineStatus(camera="gate", frames=870, regions=200, reads=190, events=21, accepted=20)
SINK = SinkStatus(name="mqtt", waiting=0, delivered=12, dropped=5, rejected=1)


def tiny_reader(session: FakeSession | None = None, **options: Any) -> Reader:
    """Return a reader that keeps scores and waits for requests as a server does."""
    queue = QueueOptions(capacity=64, on_full="drop_newest")
    session = session or FakeSession(TinyNetwork().logits)
    return fake_reader(session, **{"queue": queue, "keep_scores": True, **options})


@dataclass
class FakeView:
    """See ``runtime.gateway.serve.view.GatewayView``."""

    reader: Reader = field(default_factory=tiny_reader)
    started: datetime = STARTED
    camera_rows: Sequence[CameraStatus] = (CAMERA,)
    pipeline_rows: Sequence[PipelineStatus] = (PIPELINE,)
    sink_rows: Sequence[SinkStatus] = (SINK,)
    reads: Sequence[LatestRead] = ()
    version_rows: Sequence[VersionRow] = ()
    reloaded: list[str] = field(default_factory=list)
    on_reload: Callable[[str], str] = lambda name: f"{name} serves now"

    def cameras(self) -> Sequence[CameraStatus]:
        return self.camera_rows

    def pipelines(self) -> Sequence[PipelineStatus]:
        return self.pipeline_rows

    def sinks(self) -> Sequence[SinkStatus]:
        return self.sink_rows

    def latest(self) -> Sequence[LatestRead]:
        return self.reads

    def versions(self) -> Sequence[VersionRow]:
        return self.version_rows

    def reload(self, name: str) -> str:
        self.reloaded.append(name)
        return self.on_reload(name)


def jpeg(image: Image | None = None, *, suffix: str = ".jpg") -> bytes:
    """Return a picture file."""
    if image is None:
        image = np.full((24, 40, 3), 90, np.uint8)
    return bytes(cv2.imencode(suffix, image)[1])


@contextmanager
def serving(view: FakeView | None = None, **options: Any) -> Iterator[Server]:
    """Serve on a free port until the block ends."""
    view = view or FakeView()
    server = Server(view, ServeOptions(port=0, **options))
    server.start()
    try:
        yield server
    finally:
        server.stop()
        view.reader.close()


def ask(
    server: Server,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, Mapping[str, str], Any]:
    """Ask on a new connection; return the status, headers in lower case, and the body, parsed."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    named = {name.lower(): value for name, value in response.headers.items()}
    if named.get("content-type") == "application/json":
        return response.status, named, json.loads(content)
    return response.status, named, content
