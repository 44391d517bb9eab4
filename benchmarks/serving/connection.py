"""A kept HTTP/1.1 connection that costs next to nothing: what a load should be made of.

``http.client`` takes 0.1 ms of a request for parsing headers, a third of what a good server needs
for all of it, and on the same cores. Here a request is bytes that were made before, and of the
answer's headers only two are looked for.
"""

from __future__ import annotations

import re
import socket
from time import monotonic
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from runtime.errors import ConfigError, EngineError

__all__ = ["Connection", "Reply"]

_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *(\d+)\r")
_PIECE_BYTES: Final = 65_536
_TIMEOUT_S: Final = 20.0
_IDLE_S: Final = 0.5
"""No server closes a connection that was idle for less; sooner, it is an error."""
_OK: Final = b"HTTP/1.1 200 "


class Reply(NamedTuple):
    """What a server answered with status 200."""

    head: bytes
    """Status line and headers, with the last line's end."""
    body: bytes


class Connection:
    """One connection; one thread at a time.

    It is opened anew where it was idle for a while and the server closed it, as servers do.

    Args:
        url: Of the server, ``http`` only.

    Raises:
        ConfigError: another kind of URL.
        EngineError: nobody listens there.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ConfigError(f"expected a URL such as http://127.0.0.1:8080/v1/read, got {url!r}")
        self._url = url
        self._address = (parts.hostname, parts.port or 80)
        self._socket = self._open()
        self._last_s = monotonic()

    def _open(self) -> socket.socket:
        try:
            opened = socket.create_connection(self._address, timeout=_TIMEOUT_S)
        except OSError as error:
            raise EngineError(f"{self._url}: {error}; is the server up?") from error
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return opened

    def exchange(self, request: bytes) -> Reply:
        """Send a request, whole, and return the answer.

        Raises:
            EngineError: no answer in time, another status than 200, or no ``Content-Length``.
        """
        try:
            received = self._begin(request)
            while (end := received.find(_END)) < 0:
                received += self._more()
            head = received[: end + 2]
            length = _LENGTH.search(head)
            if length is None:
                raise EngineError(f"{self._url}: an answer without Content-Length: {head!r:.200}")
            whole = end + len(_END) + int(length[1])
            while len(received) < whole:
                received += self._more()
        except OSError as error:
            raise EngineError(f"{self._url}: {error}") from error
        body = received[end + len(_END) : whole]
        if not head.startswith(_OK):
            raise EngineError(f"{self._url}: {head.splitlines()[0]!r:.60} {body!r:.300}")
        self._last_s = monotonic()
        return Reply(head, body)

    def _begin(self, request: bytes) -> bytes:
        """Send a request and return the first piece of its answer."""
        try:
            self._socket.sendall(request)
            return self._more()
        except ConnectionError:
            if monotonic() - self._last_s < _IDLE_S:
                raise
        self.close()
        self._socket = self._open()
        self._socket.sendall(request)
        return self._more()

    def _more(self) -> bytes:
        piece = self._socket.recv(_PIECE_BYTES)
        if not piece:
            raise ConnectionResetError("the server closed the connection")
        return piece

    def close(self) -> None:
        """Hang up."""
        self._socket.close()
