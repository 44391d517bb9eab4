"""Connections as they come over the wire; R13 has the hostile ones."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from runtime.gateway.serve.server import Server
from tests.serving import serving

GET = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /v1/read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(receive_timeout_s=0.4, keep_alive_s=0.8) as server:
        yield server


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def seconds_until_closed(connection: socket.socket, began: float | None = None) -> float:
    began = time.monotonic() if began is None else began
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    return time.monotonic() - began


def test_answers_do_not_wait_for_acknowledgements(server: Server) -> None:
    """Nagle's algorithm and delayed acknowledgements add 40 ms to every answer of two segments."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    took = []
    for _ in range(25):
        began = time.monotonic()
        connection.request("GET", "/v2/health/live")
        assert connection.getresponse().read() == b'{"live":true}'
        took.append(time.monotonic() - began)
    connection.close()
    assert sorted(took)[len(took) // 4] < 0.03


def test_a_request_may_come_in_pieces_and_two_at_once(server: Server) -> None:
    with closing(connect(server)) as connection:
        for at in range(0, len(GET), 9):
            connection.sendall(GET[at : at + 9])
            time.sleep(0.01)
        connection.sendall(GET + GET)
        received = b""
        while received.count(b'{"live":true}') < 3:
            piece = connection.recv(4096)
            assert piece
            received += piece


def test_an_answer_is_one_piece(server: Server) -> None:
    """Two would be two system calls here and wake the client twice."""
    with closing(connect(server)) as connection:
        for _ in range(20):
            connection.sendall(GET)
            assert connection.recv(65536).endswith(b'\r\n\r\n{"live":true}')


@pytest.mark.parametrize(
    ("sent", "least_s"),
    [
        (b"", 0.3),
        (GET[:20], 0.3),
        (POST + b"ab", 0.3),
        # The rest of a second request never comes.
        (GET + GET[:20], 0.3),
        # Idle between requests: longer.
        (GET, 0.6),
    ],
    ids=["nothing", "headers", "body", "second", "idle"],
)
def test_silence_has_its_clock(server: Server, sent: bytes, least_s: float) -> None:
    began = time.monotonic()
    with closing(connect(server)) as connection:
        connection.sendall(sent)
        assert least_s < seconds_until_closed(connection, began) < 5


def test_what_is_no_http_is_refused(server: Server) -> None:
    with closing(connect(server)) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")
    broken = POST.replace(b"Content-Length: 4", b"Transfer-Encoding: chunked") + b"zz\r\n"
    with closing(connect(server)) as connection:
        connection.sendall(broken)
        assert seconds_until_closed(connection) < 2
    with closing(connect(server)) as connection:
        connection.sendall(GET[:-2] + b"X: " + b"y" * 20_000)
        assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")


def test_the_newest_of_too_many_connections_is_closed() -> None:
    with serving(max_connections=3) as server:
        kept = [connect(server) for _ in range(3)]
        time.sleep(0.1)
        with closing(connect(server)) as late:
            assert seconds_until_closed(late) < 2
        for connection in kept:
            connection.sendall(GET)
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
            connection.close()
