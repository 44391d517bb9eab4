"""The endpoints of the KServe v2 protocol, and a plain one for pictures beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runtime.errors import DataError
from runtime.health import FAILED
from runtime.kserve import HEADER_LENGTH
from runtime.manifest import Manifest
from runtime.results import Result

from .crops import are_quick, decode_crop
from .models import Model, answer_json, models_of
from .replies import reply
from .service import Deadline, Service
from .tensors import Question, encode_answer, parse_question

__all__ = ["HEALTH_PATHS", "KServe"]

HEALTH_PATHS: Final = ("/v2/health/live", "/v2/health/ready")
_BODY: Final = "the body"
_MOST_DIGITS: Final = 9
_QUICK_JSON_BYTES: Final = 4096
_PX: Final = 1e6


class KServe:
    """The endpoints.

    Args:
        service: What answers.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._largest_px = service.options.max_picture_mpx * _PX
        self._manifest: Manifest | None = None
        self._models: Mapping[str, Model] = {}

    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        live, ready = HEALTH_PATHS
        model = "/v2/models/{model}"
        versioned = model + "/versions/{version}"
        return [
            # Routes are tried in this order, so those that have no time come first.
            Route("/v1/read", self.read, methods=["POST"]),
            *(Route(f"{path}/infer", self.infer, methods=["POST"]) for path in (model, versioned)),
            Route("/v2", self.server, methods=["GET"]),
            Route(live, self.live, methods=["GET"]),
            Route(ready, self.ready, methods=["GET"]),
            *(Route(path, self.metadata, methods=["GET"]) for path in (model, versioned)),
            *(
                Route(f"{path}/ready", self.model_ready, methods=["GET"])
                for path in (model, versioned)
            ),
        ]

    async def server(self, _: Request) -> Response:
        """Say what this server is."""
        extensions = ["binary_tensor_data"]
        return reply({"name": "headlight", "version": _version(), "extensions": extensions})

    async def live(self, _: Request) -> Response:
        """Say that the event loop runs."""
        return reply({"live": True})

    async def ready(self, _: Request) -> Response:
        """Say whether answers come, and if not, why."""
        health = self._service.reader.health()
        if not self._service.warm:
            return reply({"ready": False, "state": "starting", "reason": "warming up"}, 503)
        # Overloaded is ready: answers come, if not for everybody.
        ready = health.state != FAILED
        content = {"ready": ready, "state": health.state, "reason": health.reason}
        return reply(content, 200 if ready else 503)

    async def model_ready(self, request: Request) -> Response:
        """Say so of a model."""
        self._model(request)
        return await self.ready(request)

    async def metadata(self, request: Request) -> Response:
        """Say what a model takes and gives."""
        return reply(self._model(request).metadata())

    def _model(self, request: Request) -> Model:
        """Return the model that a path names.

        Raises:
            HTTPException: 404, it is not here.
        """
        manifest = self._service.reader.info
        if manifest is not self._manifest:
            name, largest_px = self._service.options.model, self._largest_px
            self._models = models_of(manifest, name=name, largest_px=largest_px)
            self._manifest = manifest
        name, number = request.path_params["model"], request.path_params.get("version")
        model = self._models.get(name)
        if model is None or number not in (None, model.version):
            of_version = "" if number is None else f" in version {number!r:.20}"
            raise HTTPException(404, f"there is no model {name!r:.80}{of_version}")
        return model

    async def infer(self, request: Request) -> Response:
        """Run an inference."""
        model = self._model(request)
        async with self._service.body(request) as body:
            with self._service.place():
                question = await self._question(model, body, _header_length(request, body))
                deadline = Deadline(self._service.options.timeout_s, question.timeout_ms)
                prepare = partial(model.prepare, question.values)
                quick = model.quick(question.values)
                images = prepare() if quick else await self._service.prepared(prepare)
                results = await self._service.read(images, deadline)
        answers = model.answer(results)
        outputs = [
            (output, model.outputs[output.name], answers[output.name])
            for output in question.outputs
        ]
        content, length = encode_answer(_identity(model, results), outputs, question.id)
        if length is None:
            return Response(content, media_type="application/json")
        headers = {HEADER_LENGTH: str(length)}
        return Response(content, headers=headers, media_type="application/octet-stream")

    async def _question(self, model: Model, body: bytes, json_bytes: int) -> Question:
        parse = partial(
            parse_question,
            body,
            json_bytes,
            model.input,
            [*model.outputs],
            max_batch=self._service.options.max_batch,
        )
        # Parsing names and shapes takes less than waking another thread.
        return parse() if json_bytes < _QUICK_JSON_BYTES else await self._service.in_worker(parse)

    async def read(self, request: Request) -> Response:
        """Read one picture: JPEG or PNG in, JSON out."""
        asked = request.scope["query_string"]  # parsing none takes its time as well
        wished = request.query_params.get("deadline_ms") if asked else None
        async with self._service.body(request) as body:
            deadline = Deadline(self._service.options.timeout_s, _milliseconds(wished))
            with self._service.place():
                image = partial(decode_crop, body, _BODY, largest_px=self._largest_px)
                images = (
                    [image()]
                    if are_quick([body])
                    else await self._service.prepared(lambda: [image()])
                )
                (result,) = await self._service.read(images, deadline)
        return Response(answer_json(result), media_type="application/json")


def _version() -> str:
    try:
        return version("headlight")
    except PackageNotFoundError:  # the folder was copied, not installed
        return ""


def _identity(model: Model, results: Sequence[Result]) -> dict[str, str]:
    """Return the model's name, and the version that answered: a reload may have come between."""
    artifact = results[0].artifact
    number = model.version if artifact is None else str(artifact.version)
    return {"model_name": model.name, "model_version": number}


def _header_length(request: Request, body: bytes) -> int:
    text = request.headers.get(HEADER_LENGTH)
    if text is None:
        return len(body)
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise DataError(f"header {HEADER_LENGTH} must be a number, got {text!r:.40}")
    return int(text)


def _milliseconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise DataError(f"deadline_ms must be a number, got {text!r:.40}") from error
