"""The HTTP application: all endpoints behind one gate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runtime.errors import HeadlightError
from runtime.gateway.metrics import HttpMetrics, make_registry

from .gate import Gate
from .kserve import HEALTH_PATHS, KServe
from .options import ServeOptions
from .replies import ERROR_HANDLERS
from .service import Service
from .status import PAGE_PATHS, StatusPage
from .view import GatewayView

__all__ = ["METRICS_PATH", "create_app"]

METRICS_PATH: Final = "/metrics"


def create_app(view: GatewayView, options: ServeOptions) -> Starlette:
    """Return the ASGI application of a gateway.

    Args:
        view: The gateway.
        options: What to serve, and for whom.

    Raises:
        ConfigError: the token cannot be read.
    """
    service = Service(view, options)
    registry = make_registry(view)
    open_paths = [*HEALTH_PATHS, *([METRICS_PATH] if options.open_metrics else [])]
    routes = [*KServe(service).routes(), _metrics_route(service, registry)]
    if options.status_page:
        routes += StatusPage(service).routes()
        open_paths += PAGE_PATHS
    gate = Middleware(
        Gate,
        options=options,
        token=options.read_token(),
        open_paths=open_paths,
        metrics=HttpMetrics(registry),
    )
    app = Starlette(
        routes=routes,
        middleware=[gate],
        exception_handlers=dict(ERROR_HANDLERS),
        lifespan=partial(_lifespan, service),
    )
    app.router.redirect_slashes = False
    app.state.failure = None
    return app


@asynccontextmanager
async def _lifespan(service: Service, app: Starlette) -> AsyncIterator[None]:
    """Take no request before an image was read."""
    try:
        await service.warm_up()
    except HeadlightError as error:
        app.state.failure = error  # servers only log it
        raise
    try:
        yield
    finally:
        service.close()


def _metrics_route(service: Service, registry: CollectorRegistry) -> Route:
    async def metrics(_: Request) -> Response:
        text = await service.in_worker(lambda: generate_latest(registry))
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return Route(METRICS_PATH, metrics, methods=["GET"])
