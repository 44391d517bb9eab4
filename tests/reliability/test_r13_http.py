"""R13: whatever arrives over HTTP, the server answers, stays small and stays up."""

from __future__ import annotations

import json
import os
import random
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.artifacts import SMALL_INPUT, SMALL_SCHEMA, TinyNetwork, write_artifact
from tests.engines import require
from tests.serving import TOKEN, jpeg

pytestmark = pytest.mark.reliability

MODEL = SMALL_SCHEMA.name
PATHS = (
    "/v2", "/v2/health/live", "/v2/health/ready", f"/v2/models/{MODEL}",
    f"/v2/models/{MODEL}/ready", f"/v2/models/{MODEL}/infer",
    f"/v2/models/{MODEL}/versions/1/infer", f"/v2/models/{MODEL}-answers/infer",
    f"/v2/models/{MODEL}-answers", "/v1/read", "/v1/reload", "/status.json",
    "/status/pictures/0", "/metrics", "/", "/page.js",
)  # fmt: skip
TAILS = (
    "/", "/..", "%2f", "%00", "%ff%fe", "//", "?" * 50, "?deadline_ms=nan", "?deadline_ms=1e-9",
    "?deadline_ms=x",
)  # fmt: skip
ALLOWED_5XX = (503, 504)
GROWTH_MB = 80
WAIT_S = 0.2
"""For an answer: a request that was cut off gets none."""


class Server:
    """The process under attack."""

    def __init__(self, artifact: Path) -> None:
        self.log = artifact.with_name("server.log")
        environment = {**os.environ, "GATEWAY_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-W", "error", "-m", "tests.reliability.http_server"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, str(artifact)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
            )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def stop(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()
        assert self.process.wait(20) == 0
        assert "Traceback" not in self.log.read_text(errors="replace")

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=5)

    def rss_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]

    def send(self, raw: bytes, *, wait_s: float = 5.0) -> int | None:
        """Send bytes on a new connection; return the status of the answer, if any comes."""
        with closing(self.connect()) as connection:
            with suppress(OSError):  # it may hang up on what is no HTTP before it has all
                connection.sendall(raw)
            connection.settimeout(wait_s)
            return status_of(connection)

    def well(self) -> bool:
        """Whether it reads a picture as ever."""
        return self.send(request("POST", "/v1/read", jpeg())) == 200


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    require("onnxruntime")
    folder = tmp_path_factory.mktemp("r13") / "artifact"
    write_artifact(folder, TinyNetwork())
    server = Server(folder)
    yield server
    server.stop()


def status_of(connection: socket.socket) -> int | None:
    received = b""
    with suppress(OSError):
        while b"\r\n\r\n" not in received and (piece := connection.recv(4096)):
            received += piece
    found = re.match(rb"HTTP/1\.1 (\d{3})", received)
    return int(found[1]) if found else None


def request(
    method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> bytes:
    named = {
        "Host": "127.0.0.1",
        "Authorization": f"Bearer {TOKEN}",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **(headers or {}),
    }
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body


def infer_body(binary: bool) -> tuple[Any, bytes]:
    pixels = bytes(3 * SMALL_INPUT.height * SMALL_INPUT.width)
    entry: dict[str, Any] = {
        "name": "image",
        "shape": [1, *SMALL_INPUT.shape],
        "datatype": "UINT8",
    }
    if binary:
        entry["parameters"] = {"binary_data_size": len(pixels)}
    else:
        entry["data"] = list(pixels)
    outputs = [{"name": "first", "parameters": {"binary_data": True}}]
    return {"id": "a", "inputs": [entry], "outputs": outputs}, pixels if binary else b""


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["image", "UINT8", "BYTES", "FP32", MODEL, "\ud800", "1e999"])
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value[:6])
    for key, inner in entries if isinstance(value, (dict, list)) else ():
        if isinstance(inner, (dict, list)):
            yield from places(inner, (*path, key))
        else:
            yield (*path, key)


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(copy[path[0]], path[1:], new)
    return copy


@st.composite
def questions(draw: Callable[..., Any]) -> bytes:
    """An inference whose JSON has one place replaced, or whose lengths lie."""
    value, tail = infer_body(draw(st.booleans()))
    path = draw(st.sampled_from([*places(value)]))
    text = json.dumps(replaced(value, path, draw(anything))).encode()
    length = draw(st.sampled_from([len(text), len(text) - 1, 0, 10**8, -1]) | st.text(max_size=8))
    target = draw(st.sampled_from([path for path in PATHS if path.endswith("infer")]))
    headers = {} if draw(st.booleans()) else {"Inference-Header-Content-Length": str(length)}
    clean = {name: value.replace("\r", "").replace("\n", "") for name, value in headers.items()}
    return request("POST", target, text + tail, clean)


@st.composite
def arbitrary(draw: Callable[..., Any]) -> bytes:
    """Any method, path, query, body and content encoding."""
    method = draw(st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "BREW"]))
    path = draw(st.sampled_from(PATHS))
    if draw(st.booleans()):
        path += draw(st.sampled_from(TAILS))
    body = draw(st.binary(max_size=200) | st.just(jpeg()))
    extra = draw(st.sampled_from([
        {}, {"Content-Encoding": "gzip"}, {"Transfer-Encoding": "chunked"}, {"Host": ""},
        {"Authorization": "Bearer x"}, {"Authorization": ""}, {"Origin": "http://evil"},
        {"Content-Length": "1" * 30}, {"Content-Length": "-1"}, {"Expect": "100-continue"},
        {"Upgrade": "websocket", "Connection": "Upgrade"}, {"X": "y" * 20_000},
    ]))  # fmt: skip
    return request(method, path, body, extra)


VALID = [
    request("POST", "/v1/read", jpeg()),
    request("POST", "/v1/read", jpeg(suffix=".png")),
    request("POST", "/v1/reload", b'{"name": "x"}'),
    request("GET", "/status.json"),
    *(
        request(
            "POST",
            f"/v2/models/{MODEL}/infer",
            json.dumps(value).encode() + tail,
            {"Inference-Header-Content-Length": str(len(json.dumps(value)))},
        )
        for value, tail in map(infer_body, (True, False))
    ),
]


@st.composite
def mutated(draw: Callable[..., Any]) -> bytes:
    """A valid request with some bytes changed, taken out, doubled or cut off."""
    raw = bytearray(draw(st.sampled_from(VALID)))
    chance = random.Random(draw(st.integers(0, 2**32)))
    for _ in range(draw(st.integers(1, 8))):
        # Mostly in the head, which is short.
        at = chance.randrange(min(len(raw), chance.choice([300, 700, len(raw)])))
        kind = chance.randrange(30) // 9
        if kind == 0:
            raw[at] = chance.randrange(256)
        elif kind == 1:
            del raw[at : at + chance.randrange(1, 20)]
        elif kind == 2:
            raw[at:at] = raw[at : at + chance.randrange(1, 20)]
        else:
            del raw[at:]
        if not raw:
            break
    return bytes(raw)


def test_any_request_is_answered_or_refused(server: Server, full: bool, count: Any) -> None:
    statuses: Counter[int | None] = Counter()
    assert server.well()
    before = server.rss_mb()

    @settings(
        max_examples=2000 if full else 150,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[*HealthCheck],
    )
    @given(st.one_of(questions(), arbitrary(), mutated(), st.sampled_from(VALID)))
    def attack(raw: bytes) -> None:
        status = server.send(raw, wait_s=WAIT_S)
        statuses[status] += 1
        assert status is None or status < 500 or status in ALLOWED_5XX, raw[:600]

    attack()
    assert server.process.poll() is None
    assert server.well()
    grown = server.rss_mb() - before
    count(
        "R13 fuzz",
        requests=sum(statuses.values()),
        answered_2xx=sum(n for status, n in statuses.items() if status and status < 300),
        refused_4xx=sum(n for status, n in statuses.items() if status and 400 <= status < 500),
        busy_503_504=sum(statuses[status] for status in ALLOWED_5XX),
        other_5xx=0,
        no_answer=statuses[None],
        rss_growth_mb=round(grown, 1),
    )
    assert statuses[200] >= 3
    assert statuses[None] < sum(statuses.values()) / 2
    assert grown < GROWTH_MB


def test_a_large_body_is_refused_without_being_kept(server: Server, full: bool, count: Any) -> None:
    size = 50_000_000 if full else 10_000_000
    before = server.rss_mb()
    refused = largest = 0
    for chunked in (False, True):
        headers = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(size)}
        head = request("POST", "/v1/read", b"", headers)
        if chunked:
            head = head.replace(b"Content-Length: 0\r\n", b"")
        piece = b"10000\r\n" + bytes(1 << 16) + b"\r\n" if chunked else bytes(1 << 16)
        with closing(server.connect()) as connection:
            connection.sendall(head)
            with suppress(OSError):
                for _ in range(size >> 16):
                    connection.sendall(piece)
                    largest = max(largest, int(server.rss_mb() - before))
            refused += status_of(connection) == 413
    assert server.well()
    count("R13 large body", bytes=size, refused_413=refused, rss_growth_mb=largest)
    assert refused == 2
    assert largest < GROWTH_MB


def hung_up(connection: socket.socket, piece: bytes) -> bool:
    """Send a piece; return whether the server closed the connection, with or without an answer."""
    try:
        connection.send(piece)
        return connection.recv(1 << 16) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def drip(server: Server, first: bytes, piece: bytes, connections: int) -> tuple[float, int]:
    """Hold connections open by a few bytes now and then.

    Returns:
        Seconds until the last was closed by the server, and how many requests of others were
        answered meanwhile.
    """
    sockets = [server.connect() for _ in range(connections)]
    for connection in sockets:
        connection.sendall(first)
        connection.setblocking(False)
    began, served = time.monotonic(), 0
    while sockets and time.monotonic() - began < 10:
        served += server.well()
        for connection in [*sockets]:
            if hung_up(connection, piece):
                connection.close()
                sockets.remove(connection)
        time.sleep(0.1)
    took = time.monotonic() - began
    for connection in sockets:
        connection.close()
    assert not sockets, f"{len(sockets)} connections are still open after {took:.1f} s"
    return took, served


@pytest.mark.parametrize("how", ["nothing", "headers", "body"])
def test_slow_senders_are_hung_up_on(server: Server, full: bool, count: Any, how: str) -> None:
    """Slowloris, and its relative that drips a body; the clock is set to 1 s here."""
    head = request("POST", "/v1/read", b"", {"Content-Length": "100000"})
    first = {"nothing": b"", "headers": head[:60], "body": head}[how]
    piece = {"nothing": b"", "headers": b"X: y\r\n", "body": b"z"}[how]
    connections = 150 if full else 40
    seconds, served = drip(server, first, piece, connections)
    assert server.well()
    count(
        f"R13 slow {how}",
        connections=connections,
        closed_after_s=round(seconds, 1),
        others_served=served,
    )
    assert served >= 3
    assert seconds < 5


def test_a_client_that_does_not_read_is_hung_up_on(server: Server, count: Any) -> None:
    ask = request("GET", "/page.js", b"", {"Connection": "keep-alive"})
    with closing(server.connect()) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20.0)
        began = time.monotonic()
        with pytest.raises(ConnectionError):
            connection.sendall(ask * 200_000)
        seconds = time.monotonic() - began
    assert server.well()
    count("R13 slow reader", closed_after_s=round(seconds, 1))
    assert seconds < 15


def test_more_connections_than_allowed_are_closed(server: Server, count: Any) -> None:
    sockets = [server.connect() for _ in range(260)]
    time.sleep(0.3)
    closed = 0
    for connection in sockets:
        connection.setblocking(False)
        with suppress(BlockingIOError):
            try:
                closed += connection.recv(1) == b""
            except ConnectionError:
                closed += 1
    for connection in sockets:
        connection.close()
    time.sleep(0.2)
    assert server.well()
    count("R13 connections", opened=len(sockets), closed=closed)
    assert 55 <= closed <= 65
