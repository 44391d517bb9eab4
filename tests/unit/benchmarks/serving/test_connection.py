"""One connection: answers in pieces, errors, what is no answer."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import pytest

from benchmarks.serving.connection import Connection
from runtime.errors import ConfigError, EngineError
from tests.unit.benchmarks.serving.fakes import peer


@contextmanager
def sends(pieces: Sequence[bytes]) -> Iterator[str]:
    """Accept one connection and, once asked, send pieces with pauses; then hang up."""
    listening = socket.create_server(("127.0.0.1", 0))

    def work() -> None:
        connection, _ = listening.accept()
        with closing(connection):
            connection.recv(65536)
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(0.02)

    thread = threading.Thread(target=work)
    thread.start()
    with closing(listening):
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/read"
        thread.join()


def test_one_connection_carries_many_requests() -> None:
    clients = []

    def answer(_: str, body: bytes, headers: object) -> bytes:
        clients.append(threading.get_ident())
        return body[::-1]

    with peer(answer) as url, closing(Connection(url)) as connection:
        for text in (b"abc", b"", b"x" * 300_000):
            request = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(text) + text
            reply = connection.exchange(request)
            assert reply.body == text[::-1]
            assert reply.head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert reply.head.endswith(b"\r\n")
    assert len(set(clients)) == 1  # one thread per connection


def test_an_answer_may_come_in_pieces() -> None:
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplate"
    with (
        sends([whole[:9], whole[9:37], whole[37:40], whole[40:]]) as url,
        closing(Connection(url)) as connection,
    ):
        assert connection.exchange(b"x").body == b"plate"


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nlate", "503 Busy.*late"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "without Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "closed the connection"),
        (b"", "closed the connection"),
    ],
)
def test_anything_else_is_an_error(sent: bytes, text: str) -> None:
    with (
        sends([sent]) as url,
        closing(Connection(url)) as connection,
        pytest.raises(EngineError, match=text),
    ):
        connection.exchange(b"x")


def test_nobody_there_and_no_url() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(EngineError, match="is the server up"):
        Connection(f"http://127.0.0.1:{port}/")
    for url in ("https://localhost/", "localhost:80", "http:///x"):
        with pytest.raises(ConfigError, match="expected a URL"):
            Connection(url)


def test_a_connection_that_was_closed_while_idle_is_opened_anew() -> None:
    listening = socket.create_server(("127.0.0.1", 0))

    def work() -> None:
        listening.accept()[0].close()  # nothing was asked in time
        for name in (b"1", b"2"):
            connection, _ = listening.accept()
            with closing(connection):
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + name)

    thread = threading.Thread(target=work)
    thread.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
    with closing(listening), closing(Connection(url)) as connection:
        for name in (b"1", b"2"):
            time.sleep(0.6)
            assert connection.exchange(b"x").body == name
        # At once: the server is ill.
        time.sleep(0.05)
        with pytest.raises(EngineError, match=r"closed the connection|reset|pipe"):
            connection.exchange(b"x")
        thread.join()
