"""What every request passes first: who may ask, and what every answer carries."""

from __future__ import annotations

import hmac
from collections.abc import MutableMapping, Sequence
from functools import lru_cache
from time import perf_counter
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runtime.gateway.metrics import HttpMetrics

from .options import ServeOptions, is_local
from .replies import error_reply

__all__ = ["Gate"]

_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
_DEFAULTS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""Where an endpoint gives none of its own."""
_SCHEME: Final = b"bearer "
_HOSTS: Final = 64
"""Names that are remembered; clients use one or two."""


class Gate:
    """ASGI middleware: token, host, security headers, counts.

    Without a token only this machine is asked to connect, but a web page that a person there looks
    at can have the browser do so by a name that its owner points to 127.0.0.1. Its requests carry
    that name, so other names than ``localhost`` are refused.

    Args:
        app: What requests reach.
        options: Of the server.
        token: What requests must carry, if anything.
        open_paths: Those that need no token.
        metrics: Counts requests.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        options: ServeOptions,
        token: bytes | None,
        open_paths: Sequence[str],
        metrics: HttpMetrics,
    ) -> None:
        self._app = app
        self._token = token
        self._any_host = token is not None or options.allow_anonymous
        self._host = options.host
        # Parsing it takes longer than all else that is checked here.
        self._known_host = lru_cache(_HOSTS)(self._is_known)
        self._open = frozenset(open_paths)
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()

        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_headers(message)
                endpoint = getattr(scope.get("endpoint"), "__name__", "none").strip("_")
                seconds = perf_counter() - began
                self._metrics.count(endpoint, message["status"], seconds)
            await send(message)

        headers = dict(scope["headers"])
        if not self._any_host and not self._known_host(headers.get(b"host", b"")):
            text = f"this gateway answers to {self._host} only, not to other names"
            await error_reply(421, text)(scope, receive, send_more)
        elif self._may(scope["path"], headers):
            await self._app(scope, receive, send_more)
        else:
            text = "a token is needed: send the header 'Authorization: Bearer TOKEN'"
            needed = {"WWW-Authenticate": "Bearer"}
            await error_reply(401, text, needed)(scope, receive, send_more)

    def _is_known(self, header: bytes) -> bool:
        try:
            host = urlsplit("//" + header.decode("latin-1")).hostname
        except ValueError:
            return False
        # Without a name, as in HTTP/1.0, it was not a browser.
        return host is None or is_local(host) or host == self._host.lower()

    def _may(self, path: str, headers: MutableMapping[bytes, bytes]) -> bool:
        if self._token is None or path in self._open:
            return True
        given = headers.get(b"authorization", b"")
        if given[: len(_SCHEME)].lower() != _SCHEME:
            return False
        # Takes as long for any token of this length.
        return hmac.compare_digest(given[len(_SCHEME) :].strip(), self._token)


def _add_headers(message: Message) -> None:
    headers: list[tuple[bytes, bytes]] = [*message["headers"], *_HEADERS]
    given = {name for name, _ in headers}
    message["headers"] = headers + [entry for entry in _DEFAULTS if entry[0] not in given]
