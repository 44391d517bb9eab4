"""The threads that take requests out of the queue and answer them."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from time import monotonic_ns
from typing import Final

from .answering import Answerer
from .arrays import Image
from .errors import ClosedError, DeadlineError, EngineError, HeadlightError, OverloadError
from .queue import QueueOptions, Request, RequestQueue
from .results import Result

__all__ = ["Dispatcher"]

_GRACE_S: Final = 1.0
"""How long engine calls may take to end after all that waited was given up."""


class Dispatcher:
    """A queue and its lanes; threads start with the first request.

    It knows nothing of the reader, so that a reader that is forgotten can be freed.

    Args:
        answerer: Calls the engine.
        options: Of queue and lanes.
        batch: Images per engine call at most, >= 1.
    """

    def __init__(self, answerer: Answerer, options: QueueOptions, *, batch: int) -> None:
        self._answerer = answerer
        self._options = options
        self.batch = batch
        self.queue = RequestQueue(options, batch=batch, shed=self._shed)
        self._lanes: list[threading.Thread] = []
        self._starting = threading.Lock()
        self._process = os.getpid()

    def request(
        self, image: Image, *, tag: object, deadline_ms: float | None, prepare_ns: int
    ) -> Request:
        """Return a request, with the queue's own deadline where it is given none."""
        return Request(
            image,
            tag=tag,
            deadline_ms=self._options.deadline_ms if deadline_ms is None else deadline_ms,
            max_wait_ms=self._options.max_wait_ms,
            prepare_ns=prepare_ns,
        )

    def submit(self, request: Request, *, wait: bool = True) -> bool:
        """Queue a request; False if that would have to block and may not, or after ``retire``."""
        if not self._lanes:
            self._start()
        return self.queue.put(request, wait=wait)

    def _start(self) -> None:
        with self._starting:
            if self._lanes:  # another thread was first
                return
            # Daemons, because an engine that hangs must not keep the process from ending.
            self._lanes = [
                threading.Thread(target=self._run, name=f"headlight-lane-{index}", daemon=True)
                for index in range(self._options.lanes)
            ]
            for lane in self._lanes:
                lane.start()

    def stop(self, drain_s: float) -> bool:
        """Let lanes answer what waits for up to ``drain_s``, then end the rest.

        Returns:
            Whether no lane is in the engine any more. Where a lane calls this, from the callback of
            a future, it is not, and ends once the callback has.
        """
        self.queue.close()
        return self._end(drain_s, None)

    def retire(self, drain_s: float) -> bool:
        """As ``stop``, but ``submit`` refuses requests instead of ending them."""
        self.queue.retire()
        late = f"the artifact was replaced, and its engine did not answer within {drain_s:g} s"
        return self._end(drain_s, EngineError(late))

    @property
    def is_lane(self) -> bool:
        """Whether the calling thread is one of the lanes."""
        return threading.current_thread() in self._lanes

    def _end(self, drain_s: float, reason: HeadlightError | None) -> bool:
        with self._starting:
            lanes = [lane for lane in self._lanes if lane is not threading.current_thread()]
        self._join(lanes, drain_s)
        self.queue.abandon(reason)
        self._join(lanes, _GRACE_S)
        return not any(lane.is_alive() for lane in lanes)

    def stop_at_end(self) -> None:
        """Stop at once, but not in a forked child.

        It has no lanes, and perhaps a lock that nobody is left to release.
        """
        if os.getpid() == self._process:
            self.stop(0.0)

    @staticmethod
    def _join(lanes: Sequence[threading.Thread], timeout_s: float) -> None:
        until_ns = monotonic_ns() + int(timeout_s * 1e9)
        for lane in lanes:
            lane.join(max(0.0, (until_ns - monotonic_ns()) / 1e9))

    def _run(self) -> None:
        while self._serve(self.queue.take()):
            pass

    def _serve(self, taken: Sequence[Request]) -> bool:
        """Answer requests; False if there are none, and then there will be none."""
        now_ns = monotonic_ns()
        running = []
        for request in taken:
            if request.future.set_running_or_notify_cancel():
                running.append(request)
            else:
                self._count_cancelled(request, now_ns)
        if running:
            self._answer(running, now_ns)
        return bool(taken)

    def _answer(self, running: Sequence[Request], taken_ns: int) -> None:
        outcomes: Sequence[Result | HeadlightError]
        try:
            outcomes = self._outcomes(running, taken_ns)
        except Exception as error:  # noqa: BLE001 - as any executor: whatever it is, it is told
            broken = EngineError(f"the lane failed: {type(error).__name__}: {error}")
            broken.__cause__ = error
            outcomes = [broken] * len(running)
        now_ns = monotonic_ns()
        self.queue.served(now_ns - taken_ns)
        outcomes = [
            request.late(now_ns) if request.expired(now_ns) else outcome
            for request, outcome in zip(running, outcomes, strict=True)
        ]
        # Counted before anybody is told, so that whoever asks then finds the sum right.
        self._count(running, outcomes, taken_ns, now_ns)
        for request, outcome in zip(running, outcomes, strict=True):
            if isinstance(outcome, HeadlightError):
                request.future.set_exception(outcome)
            else:
                request.future.set_result(outcome)

    def _outcomes(
        self, running: Sequence[Request], taken_ns: int
    ) -> Sequence[Result | HeadlightError]:
        answers = self._answerer.answer([request.image for request in running])
        return [
            answers.result(
                row,
                prepare_ns=request.prepare_ns,
                queue_ns=taken_ns - request.submitted_ns,
                tag=request.tag,
            )
            for row, request in enumerate(running)
        ]

    def _count(
        self,
        running: Sequence[Request],
        outcomes: Sequence[Result | HeadlightError],
        taken_ns: int,
        now_ns: int,
    ) -> None:
        good = [
            (request, outcome)
            for request, outcome in zip(running, outcomes, strict=True)
            if isinstance(outcome, Result)
        ]
        self._answerer.counters.count_answers(
            [now_ns - request.submitted_ns + request.prepare_ns for request, _ in good],
            accepted=sum(result.accepted for _, result in good),
            prepare_ns=sum(request.prepare_ns for request, _ in good),
            queued_ns=[taken_ns - request.submitted_ns for request, _ in good],
        )
        for outcome in outcomes:
            if isinstance(outcome, HeadlightError):
                self._count_error(outcome)

    def _shed(self, request: Request, error: HeadlightError) -> None:
        """End a request that no lane will answer."""
        if request.future.set_running_or_notify_cancel():
            self._count_error(error)
            request.future.set_exception(error)
        else:
            self._count_cancelled(request, monotonic_ns())

    def _count_cancelled(self, request: Request, now_ns: int) -> None:
        # ``read_async`` cancels what has expired.
        if request.expired(now_ns):
            self._count_error(request.late(now_ns))
        else:
            self._answerer.counters.count("cancelled")

    def _count_error(self, error: HeadlightError) -> None:
        if isinstance(error, OverloadError):
            how = "expired" if isinstance(error, DeadlineError) else "dropped"
            self._answerer.vitals.lost(how)
            self._answerer.counters.count(how)
        elif isinstance(error, ClosedError):
            self._answerer.counters.count("cancelled")
        else:
            self._answerer.counters.count("engine_failures")
