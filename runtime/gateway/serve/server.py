"""The HTTP server in a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import threading
from contextlib import suppress
from time import monotonic, sleep
from types import TracebackType
from typing import Final

import uvicorn

from runtime.errors import ConfigError, EngineError, HeadlightError

from .app import create_app
from .connection import guarded
from .options import ServeOptions
from .view import GatewayView

__all__ = ["Server"]

_LOG: Final = logging.getLogger("headlight.gateway.serve")
_START_S: Final = 70.0
_TICK_S: Final = 0.02
_END_S: Final = 2.0
_BACKLOG: Final = 128
_HEADER_BYTES: Final = 16_384


class Server:
    """Serves a gateway until it is stopped.

    Args:
        view: The gateway.
        options: Where and for whom.

    Raises:
        ConfigError: the token or the certificate cannot be read.
    """

    def __init__(self, view: GatewayView, options: ServeOptions) -> None:
        self._options = options
        self._socket: socket.socket | None = None
        self._port = options.port
        self._thread: threading.Thread | None = None
        self._app = create_app(view, options)
        try:
            config = uvicorn.Config(
                self._app,
                http=guarded(options),
                ws="none",
                loop="asyncio",
                lifespan="on",
                log_config=None,
                log_level=logging.ERROR,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=options.keep_alive_s,  # type: ignore[arg-type]
                ssl_certfile=options.tls_certificate or None,
                ssl_keyfile=options.tls_key or None,
                h11_max_incomplete_event_size=_HEADER_BYTES,
            )
            config.load()
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(f"the certificate or its key cannot be read: {error}") from error
        self._server = uvicorn.Server(config)

    @property
    def port(self) -> int:
        """The port that it listens on; 0 before ``start``, if any was to be taken."""
        return self._port

    @property
    def url(self) -> str:
        """Where it is."""
        scheme = "https" if self._options.tls_certificate else "http"
        host = self._options.host
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    def start(self) -> None:
        """Listen, and return once a first image was read.

        Raises:
            ConfigError: the address cannot be listened on.
            HeadlightError: the reader did not read.
        """
        self._socket = self._listen()
        self._port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._run, name="headlight-http", daemon=True)
        self._thread.start()
        until = monotonic() + _START_S
        while not self._server.started and self._thread.is_alive() and monotonic() < until:
            sleep(_TICK_S)
        if not self._server.started:
            failure: HeadlightError | None = self._app.state.failure
            self.stop(0.0)
            raise failure or EngineError("the HTTP server did not start; its log says why")
        _LOG.info("serving at %s", self.url)

    def _listen(self) -> socket.socket:
        host, port = self._options.host, self._options.port
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            raise ConfigError(f"cannot listen on {host} port {port}: {error}") from error
        # Connections inherit it. asyncio sets it itself, but not for sockets made like this one,
        # and then every answer waits 40 ms for the client to acknowledge its headers.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening

    def _run(self) -> None:
        assert self._socket is not None
        # uvicorn leaves this way if the application did not start; it has logged why.
        with suppress(SystemExit):
            asyncio.run(self._server.serve(sockets=[self._socket]))

    def stop(self, timeout_s: float = 5.0) -> None:
        """Take no more connections, answer the requests that came, and end.

        Args:
            timeout_s: How long answers may take; what is left then is cut off.
        """
        if self._thread is None:
            return
        # uvicorn reads it as it shuts down.
        self._server.config.timeout_graceful_shutdown = max(0, math.ceil(timeout_s))
        self._server.should_exit = True
        self._thread.join(timeout_s + _END_S)
        if self._socket is not None:
            self._socket.close()

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
