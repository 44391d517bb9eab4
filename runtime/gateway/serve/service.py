"""From requests to the reader: threads that prepare, places for requests, and their time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic
from types import TracebackType
from typing import Final, TypeVar

import numpy as np
from starlette.exceptions import HTTPException
from starlette.requests import Request

from runtime.arrays import Image
from runtime.errors import ConfigError, DataError, DeadlineError
from runtime.preprocess import fit
from runtime.reader import Reader
from runtime.results import Result

from .options import ServeOptions
from .view import GatewayView

__all__ = ["RETRY_AFTER", "Deadline", "Service"]

RETRY_AFTER: Final = {"Retry-After": "1"}
_MB: Final = 1_000_000
_WARM_UP_S: Final = 60.0
_T = TypeVar("_T")


class Deadline:
    """Until when a request must be answered.

    Args:
        longest_s: What the server allows.
        wished_ms: What the client asked for, if it did.

    Raises:
        DataError: the wish is not a time.
    """

    def __init__(self, longest_s: float, wished_ms: float | None = None) -> None:
        if wished_ms is not None and not wished_ms > 0:
            raise DataError(f"the deadline must be > 0 ms, got {wished_ms}")
        allowed_s = longest_s if wished_ms is None else min(longest_s, wished_ms / 1e3)
        self._allowed_s = allowed_s
        self._until = monotonic() + allowed_s

    @property
    def left_s(self) -> float:
        """Seconds left.

        Raises:
            DeadlineError: there are none.
        """
        left = self._until - monotonic()
        if left <= 0:
            raise self.missed()
        return left

    def missed(self) -> DeadlineError:
        """Return the error of a request that was not answered in time."""
        return DeadlineError(f"not answered within {1e3 * self._allowed_s:.0f} ms")


class Service:
    """What all endpoints share.

    Args:
        view: The gateway.
        options: Of the server.
    """

    def __init__(self, view: GatewayView, options: ServeOptions) -> None:
        self.view = view
        self.options = options
        self.warm = False
        """Whether an image went all the way; before that, nothing is ready."""
        self.in_flight = 0
        self.held_bytes = 0
        """Of bodies that have come, in part or whole."""
        self._pool = ThreadPoolExecutor(options.workers, thread_name_prefix="headlight-http")

    @property
    def reader(self) -> Reader:
        """The reader in use."""
        return self.view.reader

    async def warm_up(self) -> None:
        """Start all threads and read one blank image, so that the first request is like the next.

        Raises:
            ConfigError: the reader keeps no scores, which the model endpoint answers with.
            HeadlightError: the reader failed.
        """
        # A pool starts its threads one by one, with the requests: perhaps when memory is short.
        everybody = threading.Barrier(self.options.workers)
        await asyncio.gather(*(self.in_worker(everybody.wait) for _ in range(self.options.workers)))
        blank = np.zeros(self.reader.info.input.shape, np.uint8)
        (result,) = await self.read([blank], Deadline(_WARM_UP_S))
        if result.scores is None:
            raise ConfigError("the HTTP server needs scores; open the reader with keep_scores=True")
        self.warm = True

    async def prepared(self, prepare: Callable[[], Sequence[Image]]) -> Sequence[Image]:
        """Prepare images in a worker thread, at the network's size as far as that is known now."""

        def work() -> Sequence[Image]:
            spec = self.reader.info.input
            return [fit(image, spec) for image in prepare()]

        return await self.in_worker(work)

    async def in_worker(self, work: Callable[[], _T]) -> _T:
        """Run something in a worker thread, never in the event loop's."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def read(self, images: Sequence[Image], deadline: Deadline) -> Sequence[Result]:
        """Have images read by the reader's lanes.

        Args:
            images: Any number, best at the network's size.
            deadline: Kept whatever the engine does.

        Returns:
            One result per image, all by one artifact.

        Raises:
            HeadlightError: of the first image that has no answer; then none is given.
        """
        while True:
            results = await self._read(images, deadline)
            # Else a reload came between them; the next time it will not.
            if len(results) == 1 or len({result.artifact for result in results}) == 1:
                return results

    async def _read(self, images: Sequence[Image], deadline: Deadline) -> Sequence[Result]:
        left_ms = 1e3 * deadline.left_s
        ask = partial(self.reader.read_async, deadline_ms=left_ms)
        try:
            if len(images) == 1:
                return [await ask(images[0])]
            asked = [asyncio.ensure_future(ask(image)) for image in images]
            try:
                return await asyncio.gather(*asked)
            finally:
                for answer in asked:
                    answer.cancel()
        except DeadlineError:
            raise deadline.missed() from None

    def place(self) -> _Place:
        """Take one of the places for requests that are being answered, for a ``with`` block.

        Raises:
            HTTPException: 503, all are taken.
        """
        return _Place(self)

    def body(self, request: Request) -> _Body:
        """Receive a request's body, and count it as held until the ``async with`` block ends.

        Bytes are counted, not requests: whoever sends slowly holds next to nothing, and keeps
        nobody out.

        Raises:
            HTTPException: 413, it is too large; 415, it is compressed; 503, too much is held.
        """
        return _Body(self, request)

    def close(self) -> None:
        """End the worker threads; those at work end when they have done it."""
        self._pool.shutdown(wait=False, cancel_futures=True)


# Classes, because context managers made of generators take several times as long.


class _Place:
    def __init__(self, service: Service) -> None:
        self._service = service

    def __enter__(self) -> None:
        service = self._service
        if service.in_flight >= service.options.max_in_flight:
            text = f"{service.in_flight} requests are being answered, the most at a time"
            raise HTTPException(503, text, RETRY_AFTER)
        service.in_flight += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._service.in_flight -= 1


class _Body:
    def __init__(self, service: Service, request: Request) -> None:
        self._service, self._request = service, request
        self._held = 0

    async def __aenter__(self) -> bytes:
        try:
            return await self._receive()
        except BaseException:
            self._release()
            raise

    async def _receive(self) -> bytes:
        service, headers = self._service, self._request.headers
        most = int(service.options.max_body_mb * _MB)
        if headers.get("content-encoding", "identity") != "identity":
            raise HTTPException(415, "compressed bodies are not taken")
        # h11 lets only digits through. One that is too large is refused before it is sent.
        if int(headers.get("content-length", "0")) > most:
            raise _too_large(most)
        received = bytearray()
        async for piece in self._request.stream():
            received += piece
            self._held += len(piece)
            service.held_bytes += len(piece)
            if self._held > most:
                raise _too_large(most)
            if service.held_bytes > most * service.options.max_in_flight:
                raise HTTPException(503, "too many large requests at a time", RETRY_AFTER)
        return bytes(received)

    def _release(self) -> None:
        self._service.held_bytes -= self._held
        self._held = 0

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._release()


def _too_large(most: int) -> HTTPException:
    return HTTPException(413, f"the body has more than {most} bytes")
