"""Whether a reader can be relied on now: ready, overloaded or failed, and why."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from time import monotonic_ns
from typing import Final

from .errors import EngineError

__all__ = ["FAILED", "OVERLOADED", "READY", "Health", "Vitals"]

READY: Final = "ready"
OVERLOADED: Final = "overloaded"
FAILED: Final = "failed"
_FAILURES: Final = 3
"""Engine calls in a row that failed: one may be a bad moment of a driver, three are not."""
_STUCK_S: Final = 10.0
"""A call that runs longer hangs; Frigate restarts its detector after as long."""
_RECENT_S: Final = 5.0
"""How long a dropped request counts as overload."""
_NS_PER_S: Final = 1e9


@dataclass(frozen=True, slots=True)
class Health:
    """The state of a reader."""

    state: str
    """``ready``; ``overloaded``: answers come, but requests are dropped, expire or find the queue
    full; ``failed``: no answers come."""
    reason: str = ""
    """Why it is not ready."""

    @property
    def ready(self) -> bool:
        """Whether the state is ``ready``."""
        return self.state == READY


class Vitals:
    """Watches the engine calls and lost requests of a reader; any thread may call."""

    def __init__(self) -> None:
        self._running: dict[int, int] = {}
        self._failures = 0
        self._error = ""
        self._lost_ns: int | None = None
        self._lost_text = ""

    def begin(self) -> None:
        """Note that this thread calls the engine."""
        # Single operations on a dict need no lock.
        self._running[threading.get_ident()] = monotonic_ns()

    def end(self) -> None:
        """Note that the engine returned or raised."""
        del self._running[threading.get_ident()]

    def judge_call(self, error: EngineError | None) -> None:
        """Note that an engine call gave answers, or why it gave none."""
        if error is None:
            self._failures = 0
        else:
            self._failures += 1
            self._error = str(error)

    def lost(self, how: str) -> None:
        """Note that a request was ``dropped`` or ``expired``."""
        self._lost_ns, self._lost_text = monotonic_ns(), how

    def judge(self, *, closed: bool, full: bool) -> Health:
        """Return the state now.

        Args:
            closed: Whether the reader was closed.
            full: Whether its queue is full.
        """
        now_ns = monotonic_ns()
        if closed:
            return Health(FAILED, "the reader was closed")
        oldest_ns = min(tuple(self._running.values()), default=now_ns)
        if now_ns - oldest_ns > _STUCK_S * _NS_PER_S:
            running_s = (now_ns - oldest_ns) / _NS_PER_S
            return Health(FAILED, f"an engine call has been running for {running_s:.0f} s")
        if self._failures >= _FAILURES:
            return Health(FAILED, f"{self._failures} engine calls in a row failed: {self._error}")
        if full:
            return Health(OVERLOADED, "the queue is full")
        lost_ns = self._lost_ns
        if lost_ns is not None and now_ns - lost_ns < _RECENT_S * _NS_PER_S:
            ago_s = (now_ns - lost_ns) / _NS_PER_S
            return Health(OVERLOADED, f"a request was {self._lost_text} {ago_s:.1f} s ago")
        return Health(READY)
