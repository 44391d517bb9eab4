"""Requests to one HTTP server over connections that are kept, with limits on time and size."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from queue import Empty, LifoQueue
from time import monotonic
from typing import Final
from urllib.parse import urlsplit

from .errors import ConfigError, EngineError

__all__ = ["Answer", "HttpClient"]

_LONGEST_S: Final = 3600
_FAILURES: Final = (OSError, http.client.HTTPException)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said."""

    content: bytes
    headers: Mapping[str, str]
    """Names in lower case."""
    status: int = 200
    """200 where it did what was asked."""


class HttpClient:
    """Talks HTTP/1.1 with one server; any number of threads may call it.

    Each request takes an idle connection or opens one. Nothing is tried twice, except on a
    connection that the server closed while it was idle.

    Args:
        url: Such as ``http://host:8000``; a path is put before that of every request.
        timeout_s: For connecting, for sending, for the answer's begin and for all of its rest.
        headers: Sent with every request.
        context: How TLS servers are checked; None: as the system does.

    Raises:
        ConfigError: a URL, timeout or header that cannot work.
    """

    def __init__(
        self,
        url: str,
        timeout_s: float,
        headers: Mapping[str, str],
        *,
        context: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError as error:
            raise ConfigError(f"{url}: {error}") from error
        extra = parts.query or parts.fragment or parts.username is not None
        if parts.scheme not in ("http", "https") or not parts.hostname or extra:
            raise ConfigError(f"expected a URL such as http://host:8000, got {url!r}")
        if not 0 < timeout_s <= _LONGEST_S:
            raise ConfigError(f"timeout_s must be in (0, {_LONGEST_S}], got {timeout_s}")
        if not all((name + value).isprintable() for name, value in headers.items()):
            raise ConfigError(f"headers {[*headers]} must not hold line ends")
        self._url = url
        self._host, self._port = parts.hostname, port
        self._prefix = parts.path.rstrip("/")
        self._context = None
        if parts.scheme == "https":
            self._context = context or ssl.create_default_context()
        self._timeout_s = timeout_s
        self._headers = dict(headers)
        self._idle: LifoQueue[http.client.HTTPConnection] = LifoQueue()
        self._closed = False

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        limit: int,
    ) -> Answer:
        """Send a request and return the answer of a server that did what was asked.

        Args:
            method: GET or POST.
            path: Below the server's URL.
            body: What to send.
            headers: For this request.
            limit: The most bytes to take as an answer.

        Raises:
            EngineError: no answer in time, none with status 200, or more than ``limit`` bytes.
        """
        answer = self.exchange(method, path, body, headers, limit=limit)
        if answer.status != 200:
            reason = _reason(answer.content)
            raise EngineError(f"{self._url}{path}: status {answer.status}: {reason}")
        return answer

    def exchange(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        limit: int,
    ) -> Answer:
        """Send a request and return the answer, whatever its status; as ``request`` otherwise.

        Raises:
            EngineError: no answer in time, or more than ``limit`` bytes; its cause says why.
        """
        if self._closed:
            raise EngineError(f"the connection to {self._url} was closed; connect again")
        try:
            connection, response = self._send(method, path, body, headers or {})
            try:
                content = _read_body(connection, response, limit, self._timeout_s)
            except BaseException:
                connection.close()
                raise
        except _FAILURES as error:
            reason = str(error) or type(error).__name__
            raise EngineError(
                f"{self._url}{path}: {reason} (timeout {self._timeout_s:g} s); is the server up?"
            ) from error
        self._keep(connection, response)
        named = {name.lower(): value for name, value in response.headers.items()}
        return Answer(content, named, response.status)

    def _send(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        try:
            connection = self._idle.get_nowait()
        except Empty:
            return self._send_on(self._connection(), method, path, body, headers)
        try:
            return self._send_on(connection, method, path, body, headers)
        except ConnectionError:  # idle for too long: the server hung up before this request
            return self._send_on(self._connection(), method, path, body, headers)

    def _send_on(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        try:
            if connection.sock is not None:
                connection.sock.settimeout(self._timeout_s)
            everything = {**self._headers, **headers}
            connection.request(method, self._prefix + path, body or None, everything)
            return connection, connection.getresponse()
        except BaseException:
            connection.close()
            raise

    def _connection(self) -> http.client.HTTPConnection:
        if self._context is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=self._timeout_s, context=self._context
        )

    def _keep(
        self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse
    ) -> None:
        if response.will_close:
            connection.close()
            return
        self._idle.put(connection)
        if self._closed:  # by another thread, meanwhile
            self.close()

    def close(self) -> None:
        """Close idle connections, and every other after its request."""
        self._closed = True
        while not self._idle.empty():
            try:
                connection = self._idle.get_nowait()
            except Empty:  # another thread took it, and closes it
                return
            connection.close()


def _read_body(
    connection: http.client.HTTPConnection,
    response: http.client.HTTPResponse,
    limit: int,
    timeout_s: float,
) -> bytes:
    """Read an answer piece by piece: a server that drips or floods must not hold its caller."""
    content, deadline = bytearray(), monotonic() + timeout_s
    while piece := response.read1(1 << 16):
        content += piece
        left = deadline - monotonic()
        if len(content) > limit:
            raise http.client.HTTPException(f"the answer has more than {limit} bytes")
        if left <= 0:
            raise TimeoutError("timed out")
        if connection.sock is not None:
            connection.sock.settimeout(left)
    if response.length:
        raise http.client.IncompleteRead(bytes(content), response.length)
    response.close()  # read1 does not notice the end; the connection stays open
    return bytes(content)


def _reason(content: bytes) -> str:
    text = content[:300].decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else " " for letter in text)
