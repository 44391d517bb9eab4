"""What the server says: JSON, and errors in the KServe protocol's form, ``{"error": "..."}``."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from runtime.errors import (
    ClosedError,
    ConfigError,
    DataError,
    DeadlineError,
    HeadlightError,
    ImageError,
    OverloadError,
)

from .service import RETRY_AFTER

__all__ = ["ERROR_HANDLERS", "error_reply", "reply"]

_LOG: Final = logging.getLogger("headlight.gateway.serve")
_LONGEST: Final = 500
_CLIENTS: Final = (ImageError, DataError, ConfigError)
_INTERNAL: Final = "the gateway failed; its log says why"


def reply(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response.

    It is ASCII: texts that came from outside may hold what UTF-8 cannot spell.
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Response(text, status, headers, media_type="application/json")


def error_reply(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error as the KServe protocol words it."""
    return reply({"error": text[:_LONGEST]}, status, headers)


async def _tell_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return error_reply(error.status_code, error.detail, error.headers)


async def _tell_ours(request: Request, error: Exception) -> Response:
    """Tell an error of ours; what an engine says, paths for one, stays in the log."""
    if isinstance(error, _CLIENTS):
        return error_reply(400, str(error))
    if isinstance(error, DeadlineError):
        return error_reply(504, str(error))
    if isinstance(error, OverloadError):
        return error_reply(503, str(error), RETRY_AFTER)
    if isinstance(error, ClosedError):
        return error_reply(503, "the gateway is stopping", RETRY_AFTER)
    _LOG.error("%s: %s: %s", request.url.path, type(error).__name__, error)
    return error_reply(500, _INTERNAL)


async def _tell_memory(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """Refuse one request; the next may be smaller, or come when others are done."""
    # In one line: who asks too much asks often, and a trace of each would fill the log.
    _LOG.error("%s: not enough memory", request.url.path)
    return error_reply(503, "not enough memory for this request", RETRY_AFTER)


async def _tell_gone(_: Request, error: Exception) -> Response:  # noqa: ARG001
    return error_reply(400, "the request ended before its body")


async def _tell_any(request: Request, error: Exception) -> Response:
    _LOG.error("%s failed", request.url.path, exc_info=error)
    return error_reply(500, _INTERNAL)


ERROR_HANDLERS: Final[Mapping[Any, Any]] = {
    HTTPException: _tell_http,
    HeadlightError: _tell_ours,
    ClientDisconnect: _tell_gone,
    MemoryError: _tell_memory,
    Exception: _tell_any,
}
