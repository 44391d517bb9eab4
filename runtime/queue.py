"""Requests that wait for the engine: never more than may, never later than they may.

A request ends in exactly one way: answered, refused as an image, failed by the engine, dropped
because others were waiting, expired, cancelled by its caller, or given up when the reader closed.
Each is an outcome of its future; nothing is lost without a word.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from .arrays import Image
from .errors import ClosedError, ConfigError, DeadlineError, HeadlightError, OverloadError
from .results import Result

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["CLOSED", "ON_FULL", "QueueOptions", "Request", "RequestQueue", "check_deadline"]

ON_FULL: Final = ("block", "drop_oldest", "drop_newest")
CLOSED: Final = "the reader was closed; open the artifact again"
_NS_PER_MS: Final = 1e6
_LONGEST_MS: Final = 86_400_000.0
_RECENT_CALLS: Final = 8
"""The fastest of these is what a call takes at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueOptions:
    """How ``Reader.submit`` and ``read_async`` hold requests and hand them to the engine.

    Raises:
        ConfigError: a value out of range.
    """

    capacity: int = 64
    """Requests that may wait, >= 1; each holds one image at the network's input size."""
    on_full: str = "block"
    """``block``: the submitter waits, for files; ``drop_oldest``: the newest picture counts, for
    cameras; ``drop_newest``: whoever comes late is refused, for servers."""
    deadline_ms: float | None = None
    """From submit to answer, for requests without a deadline of their own; None: any time."""
    max_wait_ms: float = 0.0
    """How long the oldest request may wait for others to share its engine call, >= 0; never
    longer than half of the time that it has."""
    lanes: int = 1
    """Threads that call the engine, 1 to 64. More than one pays where the engine runs several calls
    at a time: ONNX Runtime, TFLite, OpenVINO with ``hint="throughput"``."""

    def __post_init__(self) -> None:
        if self.capacity < 1 or not 1 <= self.lanes <= 64:
            raise ConfigError(
                f"capacity must be >= 1 and lanes in [1, 64], got {self.capacity} and {self.lanes}"
            )
        if self.on_full not in ON_FULL:
            raise ConfigError(f"on_full {self.on_full!r} is unknown; use one of {ON_FULL}")
        if not 0 <= self.max_wait_ms <= _LONGEST_MS:
            raise ConfigError(
                f"max_wait_ms must be in [0, {_LONGEST_MS:g}], got {self.max_wait_ms}"
            )
        check_deadline(self.deadline_ms)


def check_deadline(deadline_ms: float | None) -> None:
    """Fail unless a deadline can be kept at all.

    Raises:
        ConfigError: it is not in (0, 86,400,000] ms, or NaN.
    """
    if deadline_ms is not None and not 0 < deadline_ms <= _LONGEST_MS:
        raise ConfigError(f"deadline_ms must be in (0, {_LONGEST_MS:g}], got {deadline_ms}")


class Request:
    """One image on its way to the engine.

    Args:
        image: At the network's input size; nobody else's.
        tag: Whatever the caller wants to find in the result.
        deadline_ms: From now; None: any time.
        max_wait_ms: How long to wait for company.
        prepare_ns: What preparing the image took.
    """

    __slots__ = (
        "deadline_ns", "future", "home", "image", "prepare_ns", "send_ns", "submitted_ns", "tag",
    )  # fmt: skip

    def __init__(
        self,
        image: Image,
        *,
        tag: object = None,
        deadline_ms: float | None = None,
        max_wait_ms: float = 0.0,
        prepare_ns: int = 0,
    ) -> None:
        # It imports logging, some 5 ms that a reader without a queue need not pay.
        from concurrent.futures import Future

        self.image = image
        self.home: Any = None
        """Set and used by who submits: what the image was fitted for."""
        self.tag = tag
        self.prepare_ns = prepare_ns
        self.submitted_ns = monotonic_ns()
        wait_ms = max_wait_ms
        self.deadline_ns: int | None = None
        if deadline_ms is not None:
            self.deadline_ns = self.submitted_ns + int(deadline_ms * _NS_PER_MS)
            wait_ms = min(wait_ms, deadline_ms / 2)
        self.send_ns = self.submitted_ns + int(wait_ms * _NS_PER_MS)
        self.future: Future[Result] = Future()

    def expired(self, now_ns: int) -> bool:
        """Whether its deadline has passed."""
        return self.deadline_ns is not None and now_ns >= self.deadline_ns

    def late(self, now_ns: int) -> DeadlineError:
        """Return the error of a request that expired."""
        waited_ms = (now_ns - self.submitted_ns) / _NS_PER_MS
        return DeadlineError(
            f"not answered before the deadline: {waited_ms:.0f} ms after it was submitted; send "
            "fewer requests, use a faster engine or more lanes, or allow more time"
        )


Shed: TypeAlias = Callable[[Request, HeadlightError], None]
"""Ends a request that no lane will answer; called without the queue's lock."""


class RequestQueue:
    """A bounded first-in, first-out queue between submitters and lanes; any thread may call.

    Args:
        options: Capacity, and what to do when it is reached.
        batch: Requests that a lane takes at most, >= 1.
        shed: Told of every request that leaves without reaching a lane, and why.
    """

    def __init__(self, options: QueueOptions, *, batch: int, shed: Shed) -> None:
        self._options = options
        self._batch = batch
        self._shed = shed
        self._waiting: deque[Request] = deque()
        lock = threading.Lock()
        self._arrived = threading.Condition(lock)
        self._room = threading.Condition(lock)
        self._closed = False
        self._retired = False
        self._calls: deque[int] = deque(maxlen=_RECENT_CALLS)
        self._usual_ns = 0
        self.deepest = 0
        """Most requests that ever waited at a time."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether as many wait as may."""
        return len(self._waiting) >= self._options.capacity

    def put(self, request: Request, *, wait: bool = True) -> bool:
        """Let a request wait for a lane; where the queue is full, its policy decides.

        Args:
            request: Ended here if it, or another instead of it, cannot stay.
            wait: Whether the policy ``block`` may block this thread.

        Returns:
            False where that policy would have had to block, and once the queue was retired; the
            request is then as it was.
        """
        ended: list[tuple[Request, HeadlightError]] = []
        with self._arrived:
            if self.full:
                self._forget_ended(ended)
            settled = self._settle(request, ended, wait=wait)
        # Callbacks of futures run here, and may submit again.
        for dropped, error in ended:
            self._shed(dropped, error)
        return settled

    def _settle(
        self, request: Request, ended: list[tuple[Request, HeadlightError]], *, wait: bool
    ) -> bool:
        """Take a request in or end it; False if neither can be without waiting."""
        policy = self._options.on_full
        while self.full and policy == "block" and not self._closed:
            if not wait:
                return False
            now_ns = monotonic_ns()
            if request.expired(now_ns):
                ended.append((request, request.late(now_ns)))
                return True
            self._room.wait(_seconds(request.deadline_ns, now_ns))
        if self._retired:
            return False
        if self._closed:
            ended.append((request, ClosedError(CLOSED)))
            return True
        if self.full:
            dropped = request if policy == "drop_newest" else self._waiting.popleft()
            ended.append((dropped, self._overload()))
            if dropped is request:
                return True
        self._append(request)
        return True

    def _append(self, request: Request) -> None:
        self._waiting.append(request)
        count = len(self._waiting)
        self.deepest = max(self.deepest, count)
        # One lane starts the clock of the first request, one takes a full batch. Waking a lane for
        # each in between would only have it look and sleep again.
        urgent = request.send_ns < self._waiting[0].send_ns
        if count == 1 or count >= self._batch or urgent or not self._options.max_wait_ms:
            self._arrived.notify()

    def served(self, duration_ns: int) -> None:
        """Note what an engine call took, from ``take`` until its requests were answered."""
        with self._arrived:
            self._calls.append(duration_ns)
            self._usual_ns = min(self._calls)

    def _hopeless(self, request: Request, now_ns: int) -> bool:
        """Whether nobody waits for it, or it would be late even if it were taken now.

        Under overload, those that wait longest would otherwise be answered a little too late, one
        after the other, and hardly anybody in time.
        """
        if request.future.cancelled() or request.expired(now_ns):
            return True
        if not request.expired(now_ns + self._usual_ns):
            return False
        # What a call takes may be old news, and would stay so if nobody were let through.
        self._usual_ns = self._usual_ns * 7 // 8
        return True

    def _forget_ended(self, ended: list[tuple[Request, HeadlightError]]) -> None:
        """Remove what nobody waits for any more, so that it keeps nobody out."""
        now_ns = monotonic_ns()
        kept = deque[Request]()
        for request in self._waiting:
            if self._hopeless(request, now_ns):
                ended.append((request, request.late(now_ns)))
            else:
                kept.append(request)
        self._waiting = kept
        self._room.notify(self._options.capacity - len(kept))

    def _overload(self) -> OverloadError:
        return OverloadError(
            f"dropped: {self._options.capacity} requests were waiting, the most that may "
            f"({self._options.on_full}); send fewer, or use a faster engine or more lanes"
        )

    def take(self) -> list[Request]:
        """Wait for requests and take as many as fit one engine call.

        Returns:
            At least one request, oldest first; none once the queue is closed and empty.
        """
        while True:
            taken: list[Request] = []
            ended: list[tuple[Request, HeadlightError]] = []
            with self._arrived:
                if not self._await_batch():
                    return []
                now_ns = monotonic_ns()
                while self._waiting and len(taken) < self._batch:
                    request = self._waiting.popleft()
                    if self._hopeless(request, now_ns):
                        ended.append((request, request.late(now_ns)))
                    else:
                        taken.append(request)
                self._room.notify(len(taken) + len(ended))
                if self._waiting:
                    self._arrived.notify()
            for request, error in ended:
                self._shed(request, error)
            if taken:
                return taken

    def _await_batch(self) -> bool:
        """Wait until requests are to be taken; False once the queue is closed and empty."""
        while True:
            if self._waiting:
                now_ns = monotonic_ns()
                due_ns = min(request.send_ns for request in self._waiting)
                if self._closed or len(self._waiting) >= self._batch or due_ns <= now_ns:
                    return True
                self._arrived.wait(_seconds(due_ns, now_ns))
            elif self._closed:
                return False
            else:
                self._arrived.wait()

    def close(self) -> None:
        """Take no more requests; lanes still get those that wait."""
        with self._arrived:
            self._closed = True
            self._arrived.notify_all()
            self._room.notify_all()

    def retire(self) -> None:
        """As ``close``, but send whoever comes, or waits for room, to another queue."""
        with self._arrived:
            self._retired = True
        self.close()

    def abandon(self, reason: HeadlightError | None = None) -> None:
        """End all requests that wait.

        Args:
            reason: What they are told; default: that the reader was closed.
        """
        with self._arrived:
            left, self._waiting = self._waiting, deque()
            self._room.notify_all()
        for request in left:
            self._shed(request, reason or ClosedError(CLOSED))


def _seconds(until_ns: int | None, now_ns: int) -> float | None:
    return None if until_ns is None else (until_ns - now_ns) / 1e9
