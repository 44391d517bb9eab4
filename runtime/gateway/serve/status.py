"""The page for people: its files, the numbers that it shows, and the button that it has."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runtime.errors import DataError, HeadlightError
from runtime.strict import StrictObject, parse_json

from .replies import error_reply, reply
from .service import Service
from .view import LatestRead

__all__ = ["PAGE_PATHS", "StatusPage"]

_FOLDER: Final = Path(__file__).parent / "page"
_FILES: Final[Mapping[str, tuple[str, str]]] = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
PAGE_PATHS: Final = tuple(_FILES)
"""These hold no data, so they need no token; what they ask for does."""
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PICTURE_S: Final = 3600


class StatusPage:
    """The endpoints.

    Args:
        service: What they show.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._reloading = asyncio.Lock()

    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        return [
            *(Route(path, self.file, methods=["GET"]) for path in PAGE_PATHS),
            Route("/status.json", self.status, methods=["GET"]),
            Route("/status/pictures/{key}", self.picture, methods=["GET"]),
            *(
                [Route("/v1/reload", self.reload, methods=["POST"])]
                if self._service.options.allow_reload
                else []
            ),
        ]

    async def file(self, request: Request) -> Response:
        """Serve a file of the page."""
        name, kind = _FILES[request.url.path]
        headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
        return Response((_FOLDER / name).read_bytes(), headers=headers, media_type=kind)

    async def status(self, _: Request) -> Response:
        """Say how everything is now."""
        return reply(await self._service.in_worker(self._status))

    def _status(self) -> dict[str, Any]:
        view, reader = self._service.view, self._service.reader
        health, stats, manifest = reader.health(), reader.stats(), reader.info
        return {
            "now": _plain(datetime.now(timezone.utc)),
            "started": _plain(view.started),
            "health": _plain(health),
            "artifact": {
                "id": manifest.id,
                "version": manifest.version,
                "schema": manifest.schema.name,
                "precision": manifest.precision,
                "input": f"{manifest.input.width} x {manifest.input.height} px",
            },
            "engine": dict(reader.engine),
            "stats": _plain(stats),
            "cameras": _plain(view.cameras()),
            "pipelines": _plain(view.pipelines()),
            "sinks": _plain(view.sinks()),
            "latest": [_latest(read) for read in view.latest()],
            "versions": _plain(view.versions()),
            "may_reload": self._service.options.allow_reload,
        }

    async def picture(self, request: Request) -> Response:
        """Serve the picture of one of the latest readings."""
        key = request.path_params["key"]
        for read in self._service.view.latest():
            if read.thumbnail is not None and _key(read.thumbnail) == key:
                headers = {"Cache-Control": f"private, max-age={_PICTURE_S}, immutable"}
                return Response(read.thumbnail, headers=headers, media_type="image/jpeg")
        raise HTTPException(404, "this reading is not among the latest any more")

    async def reload(self, request: Request) -> Response:
        """Change to another artifact."""
        _check_origin(request)
        async with self._service.body(request) as body:
            name = _wanted(body)
        if name not in {version.name for version in self._service.view.versions()}:
            raise HTTPException(404, f"{name!r:.80} is none of the versions that may be loaded")
        if self._reloading.locked():
            raise HTTPException(409, "another artifact is being loaded")
        async with self._reloading:
            # A thread of its own: proving an artifact takes seconds, and workers have requests.
            try:
                message = await asyncio.to_thread(self._service.view.reload, name)
            except HeadlightError as error:
                return error_reply(422, f"{name} was refused, nothing changed: {error}")
        return reply({"message": message})


def _check_origin(request: Request) -> None:
    """Refuse a request that a page of another site made.

    The token cannot be sent by such a page; this holds if it leaked.
    """
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise HTTPException(403, "requests from other sites are refused")


def _wanted(body: bytes) -> str:
    try:
        value = parse_json(body.decode(), "the request", DataError)
    except UnicodeDecodeError as error:
        raise DataError(f"the request is not UTF-8: {error.reason}") from error
    with StrictObject(value, "the request", DataError) as item:
        return item.text("name")


def _latest(read: LatestRead) -> dict[str, Any]:
    fields = {
        field.name: _plain(getattr(read, field.name))
        for field in dataclasses.fields(read)
        if field.name != "thumbnail"
    }
    return {**fields, "picture": None if read.thumbnail is None else _key(read.thumbnail)}


def _key(picture: bytes) -> str:
    return hashlib.sha256(picture).hexdigest()[:32]


def _plain(value: Any) -> Any:
    """Turn dataclasses, times and collections into what JSON has."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and value - value != 0:  # JSON has neither NaN nor infinity
        return None
    return value
