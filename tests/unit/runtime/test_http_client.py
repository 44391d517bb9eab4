from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from runtime.errors import ConfigError, EngineError
from runtime.http_client import HttpClient

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextmanager
def listen(*talks: Callable[[socket.socket], object]) -> Iterator[str]:
    """Accept one connection for each of ``talks``, one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)

        def run() -> None:
            for talk in talks:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(5)
                    talk(connection)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            thread.join()


def answer(connection: socket.socket, reply: bytes = OK) -> None:
    connection.recv(1 << 16)
    connection.sendall(reply)


def twice(connection: socket.socket) -> None:
    answer(connection)
    answer(connection)


def get(client: HttpClient, limit: int = 100) -> bytes:
    return client.request("GET", "/x", limit=limit).content


def test_exchange_returns_any_status() -> None:
    created = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok"
    missing = b"HTTP/1.1 404 Not Found\r\nX-Why: gone\r\nContent-Length: 0\r\n\r\n"
    with listen(lambda c: answer(c, created), lambda c: answer(c, missing)) as url:
        client = HttpClient(url, 2, {})
        first = client.exchange("POST", "/x", b"1", limit=100)
        assert (first.status, first.content) == (201, b"ok")
        second = client.exchange("POST", "/x", b"2", limit=100)
        assert (second.status, second.headers["x-why"]) == (404, "gone")
        client.close()


def test_a_connection_is_kept() -> None:
    with listen(twice) as url:
        client = HttpClient(url, 2, {})
        assert [get(client), get(client)] == [b"ok", b"ok"]
        client.close()


def test_a_connection_closed_while_idle_is_opened_again() -> None:
    with listen(answer, answer) as url:
        client = HttpClient(url, 2, {})
        assert get(client) == b"ok"
        time.sleep(0.05)  # the server hangs up
        assert get(client) == b"ok"
        client.close()


def test_a_fresh_connection_that_fails_is_not_tried_again() -> None:
    calls = []
    with listen(lambda connection: calls.append(connection.recv(9999))) as url:
        with pytest.raises(EngineError, match="without response"):
            get(HttpClient(url, 2, {}))
        assert len(calls) == 1


def test_a_silent_server_costs_the_timeout() -> None:
    with listen(lambda connection: connection.recv(9999) and connection.recv(1)) as url:
        started = time.monotonic()
        with pytest.raises(EngineError, match=r"timed out \(timeout 0.2 s\)"):
            get(HttpClient(url, 0.2, {}))
        assert time.monotonic() - started < 10


def test_a_dripping_server_costs_the_timeout() -> None:
    def drip(connection: socket.socket) -> None:
        connection.recv(9999)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        try:
            for _ in range(400):
                connection.sendall(b".")
                time.sleep(0.05)
        except OSError:
            pass

    with listen(drip) as url:
        started = time.monotonic()
        with pytest.raises(EngineError, match="timed out"):
            get(HttpClient(url, 0.3, {}), limit=1000)
        assert time.monotonic() - started < 10


def test_an_endless_answer_is_cut_off() -> None:
    def flood(connection: socket.socket) -> None:
        connection.recv(9999)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                connection.sendall(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
        except OSError:
            pass

    with listen(flood) as url, pytest.raises(EngineError, match="more than 5000 bytes"):
        get(HttpClient(url, 5, {}), limit=5000)


def test_a_body_cut_short_is_an_error() -> None:
    def cut(connection: socket.socket) -> None:
        answer(connection, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok")

    with listen(cut) as url, pytest.raises(EngineError, match="IncompleteRead"):
        get(HttpClient(url, 2, {}))


@pytest.mark.parametrize(
    "garbage", [b"SSH-2.0-OpenSSH\r\n", b"\x00" * 70000, b"HTTP/1.1 abc\r\n\r\n"]
)
def test_another_protocol_is_an_error(garbage: bytes) -> None:
    with listen(lambda connection: answer(connection, garbage)) as url, pytest.raises(EngineError):
        get(HttpClient(url, 2, {}))


@pytest.mark.parametrize(
    "url",
    ["host:8000", "ftp://host", "http://", "http://h:x", "http://h:99999", "http://u@h", "http://h?q"],
)  # fmt: skip
def test_urls_that_cannot_work(url: str) -> None:
    with pytest.raises(ConfigError):
        HttpClient(url, 1, {})


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf")])
def test_timeouts_that_cannot_work(timeout_s: float) -> None:
    with pytest.raises(ConfigError, match="timeout_s"):
        HttpClient("http://host", timeout_s, {})


def test_headers_cannot_smuggle_lines() -> None:
    with pytest.raises(ConfigError, match="line ends"):
        HttpClient("http://host", 1, {"A": "b\r\nC: d"})
