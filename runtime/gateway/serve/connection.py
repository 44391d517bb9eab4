"""HTTP connections that cannot be held open by saying nothing, or little by little.

uvicorn bounds the size of headers and the idle time between requests, not the time that headers or
a body take to arrive, nor that a client takes to read an answer (Slowloris, R.U.D.Y., slow read:
CWE-400). Its protocol class is extended here by these three clocks and by a bound on connections.
Only documented hooks of ``asyncio.Protocol`` and what h11 says of its state are used.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .options import ServeOptions

__all__ = ["GuardedProtocol", "guarded"]

_HEADERS = "headers"
_BODY = "body"


class GuardedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 connection, with clocks."""

    options: ServeOptions

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, or end at once where there are too many."""
        super().connection_made(transport)
        self.transport = _Gathering(transport, self.loop)
        self._phase: str | None = None
        self._clock: asyncio.TimerHandle | None = None
        self._write_clock: asyncio.TimerHandle | None = None
        if len(self.connections) > self.options.max_connections:
            transport.abort()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        """Take what arrived."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Go on to the next request."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        super().connection_lost(exc)
        self._set_phase(None)
        self._unset_keepalive_if_required()
        self.resume_writing()

    def pause_writing(self) -> None:
        """Give a client that does not read some time, then hang up."""
        super().pause_writing()
        if self._write_clock is None:
            wait_s = self.options.receive_timeout_s
            self._write_clock = self.loop.call_later(wait_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop its clock."""
        super().resume_writing()
        if self._write_clock is not None:
            self._write_clock.cancel()
            self._write_clock = None

    def _watch(self) -> None:
        """Start the clock of what is awaited from the client, unless it runs already."""
        state = self.conn.their_state
        if self.transport.is_closing():
            self._set_phase(None)
        elif state is h11.SEND_BODY:
            self._set_phase(_BODY)
        # Between requests uvicorn's own clock runs, until the next one begins.
        elif state is h11.IDLE and (self.conn.trailing_data[0] or self.cycle is None):
            self._set_phase(_HEADERS)
        else:
            self._set_phase(None)

    def _set_phase(self, phase: str | None) -> None:
        if phase == self._phase:
            return
        self._phase = phase
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
        if phase is not None:
            self._clock = self.loop.call_later(self.options.receive_timeout_s, self._expire)

    def _expire(self) -> None:
        """Hang up; whoever sends like this does not wait for an answer."""
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, unless an answer is on its way: then only hang up."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.abort()


class _Gathering(asyncio.Transport):
    """Sends what is written in one turn of the event loop at its end, in one piece.

    uvicorn writes headers and body apart: two system calls, and two segments that wake the client.
    What it asks of a transport is passed on.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._pieces: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(bytes(data))

    def _flush(self) -> None:
        if self._pieces:
            content = b"".join(self._pieces)
            self._pieces.clear()
            self._transport.write(content)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._pieces.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def resume_reading(self) -> None:
        self._transport.resume_reading()


def guarded(options: ServeOptions) -> type[GuardedProtocol]:
    """Return the protocol class for a server; uvicorn takes a class, not an object."""
    bound: dict[str, Any] = {"options": options}
    return type("GuardedProtocol", (GuardedProtocol,), bound)
