"""Awaiting a request: what ``Reader.read_async`` does, apart because asyncio is slow to import."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
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

    One future of the loop and one timer: ``asyncio.wait_for`` and ``wrap_future`` make a task and
    two more futures of it, which costs as much again as the request does here.

    Raises:
        DeadlineError: the deadline passed, whatever the engine does.
        HeadlightError: as the request ended.
    """
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    timer = None
    if request.deadline_ns is not None:
        left_s = max(0.0, (request.deadline_ns - monotonic_ns()) / 1e9)
        timer = loop.call_later(left_s, _settle, over)
    try:
        if not submit(request, wait=False):
            # The queue's policy is to block, and only a thread may.
            entering = loop.run_in_executor(None, partial(submit, request))
            entering.add_done_callback(partial(_entered, over))
        request.future.add_done_callback(partial(_tell, loop, over))
        await over
    except asyncio.CancelledError:
        request.future.cancel()
        raise
    finally:
        if timer is not None:
            timer.cancel()
    if not request.future.done():
        request.future.cancel()
        raise request.late(monotonic_ns())
    return request.future.result()


def _entered(over: asyncio.Future[None], entering: asyncio.Future[bool]) -> None:
    error = None if entering.cancelled() else entering.exception()
    if error is not None and not over.done():
        over.set_exception(error)


def _settle(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


def _tell(loop: asyncio.AbstractEventLoop, over: asyncio.Future[None], _: Future[Result]) -> None:
    """Wake the waiter; called by the lane, whose loop may have ended meanwhile."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(_settle, over)
