"""Awaiting a request: what ``Reader.read_async`` does, apart because asyncio is slow to import."""

from __future__ import annotations

import asyncio
from functools import partial
from time import monotonic_ns
from typing import Protocol

from .queue import Request
from .results import Result

__all__ = ["wait_for"]


class _Submit(Protocol):
    def __call__(self, request: Request, *, wait: bool = True) -> bool:
        """See ``Dispatcher.submit``."""


async def wait_for(request: Request, submit: _Submit) -> Result:
    """Submit a request without blocking the event loop, and wait for its answer.

    Raises:
        DeadlineError: the deadline passed, whatever the engine does.
        HeadlightError: as the request ended.
    """
    if request.deadline_ns is None:
        return await _answer(request, submit)
    left_s = max(0.0, (request.deadline_ns - monotonic_ns()) / 1e9)
    try:
        return await asyncio.wait_for(_answer(request, submit), left_s)
    except asyncio.TimeoutError:
        raise request.late(monotonic_ns()) from None


async def _answer(request: Request, submit: _Submit) -> Result:
    try:
        if not submit(request, wait=False):
            # The queue's policy is to block, and only a thread may.
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, partial(submit, request))
        return await asyncio.wrap_future(request.future)
    except asyncio.CancelledError:
        request.future.cancel()
        raise
