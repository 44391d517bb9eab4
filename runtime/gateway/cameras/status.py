"""What a camera tells about itself, and where its thread notes it."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from time import monotonic_ns
from typing import Final

__all__ = ["STATES", "CameraStatus", "Tally"]

STATES: Final = (
    "connecting",
    "running",
    "stalled",
    "retrying",
    "ended",
    "stopped",
    "failed",
)
_FINAL: Final = ("ended", "stopped", "failed")
_WINDOW_NS: Final = 5_000_000_000
_MOST_TIMES: Final = 5_000
_COUNTERS: Final = ("frames", "taken", "corrupt", "withheld", "decode_errors", "gaps", "reconnects")


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraStatus:
    """One camera at one moment; holds no login.

    ``frames == taken + skipped``, but for one that may be waiting.
    """

    name: str
    url: str
    """Where it is, without the login."""
    state: str
    """``connecting``: for the first time; ``running``; ``stalled``: connected, but nothing usable
    comes; ``retrying``: the connection broke or was refused; ``ended``: a file at its end;
    ``stopped``: by its owner; ``failed``: will not come back by itself."""
    reason: str
    """Why it is not running; empty while it is."""
    fps: float
    """Usable pictures per second over the last 5 s."""
    frames: int
    """Usable pictures that were decoded."""
    taken: int
    """Those that somebody took."""
    skipped: int
    """Those that nobody took before a newer one came, or that were more than ``fps`` allows."""
    corrupt: int
    """Pictures that the decoder flagged as damaged; never handed out."""
    withheld: int
    """Pictures without a flag that were kept back because of an error before them."""
    decode_errors: int
    """Data that gave no picture at all."""
    gaps: int
    """Times at which something was missing: a time stamp, or packets on the way."""
    reconnects: int
    """Connections after the first."""
    age_s: float | None
    """Since the last usable picture; None before the first."""
    width: int
    """Of the last usable picture, px; 0 before the first."""
    height: int
    """Of the last usable picture, px; 0 before the first."""
    left_behind: bool
    """Whether ``stop`` had to leave the thread in a call that does not return."""


class Tally:
    """Counters and state of one camera; its thread writes, any thread reads.

    Args:
        name: The camera's.
        url: Its address without the login.
        quiet_s: Running without a usable picture for longer than this means stalled; 0: never.
    """

    def __init__(self, name: str, url: str, *, quiet_s: float) -> None:
        self._name = name
        self._url = url
        self._quiet_ns = round(quiet_s * 1e9)
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(_COUNTERS, 0)
        self._waiting = 0
        self._times: deque[int] = deque(maxlen=_MOST_TIMES)
        self._state, self._reason = "connecting", ""
        self._last_ns: int | None = None
        self._size = (0, 0)
        self._left_behind = False

    def add(self, counter: str, count: int = 1) -> None:
        """Count something."""
        with self._lock:
            self._counts[counter] += count

    def enter(self, state: str, reason: str = "") -> bool:
        """Go to a state; from ``stopped`` there is no way. Returns whether anything changed."""
        with self._lock:
            same = (self._state, self._reason) == (state, reason)
            if same or self._state == "stopped":
                return False
            self._state, self._reason = state, reason
            return True

    def arrive(self, now_ns: int, size: tuple[int, int]) -> int:
        """Note a usable picture of (width, height) px; returns its number, from 0."""
        with self._lock:
            number = self._counts["frames"]
            self._counts["frames"] += 1
            self._last_ns, self._size = now_ns, size
            self._times.append(now_ns)
            return number

    def offered(self, waiting: int) -> None:
        """Note how many pictures wait to be taken, 0 or 1."""
        with self._lock:
            self._waiting = waiting

    def leave_behind(self, left: bool) -> None:  # noqa: FBT001
        """Note whether the thread did not end."""
        with self._lock:
            self._left_behind = left

    @property
    def over(self) -> bool:
        """Whether no picture will come any more."""
        return self._state in _FINAL

    def read(self) -> CameraStatus:
        """Return everything as it is now."""
        with self._lock:
            now_ns = monotonic_ns()
            age_ns = None if self._last_ns is None else max(0, now_ns - self._last_ns)
            state, reason = self._state, self._reason
            # The thread itself cannot tell while it waits in a native call.
            if state == "running" and age_ns is not None and 0 < self._quiet_ns < age_ns:
                state, reason = "stalled", f"no usable picture for {age_ns / 1e9:.1f} s"
            counts = dict(self._counts)
            return CameraStatus(
                name=self._name,
                url=self._url,
                state=state,
                reason=reason,
                fps=self._fps(now_ns),
                skipped=counts["frames"] - counts["taken"] - self._waiting,
                age_s=None if age_ns is None else age_ns / 1e9,
                width=self._size[0],
                height=self._size[1],
                left_behind=self._left_behind,
                **counts,
            )

    def _fps(self, now_ns: int) -> float:
        while self._times and self._times[0] <= now_ns - _WINDOW_NS:
            self._times.popleft()
        if not self._times:
            return 0.0
        # A camera that has just begun has not yet filled the window.
        full = len(self._times) < self._counts["frames"]
        window_ns = _WINDOW_NS if full else max(now_ns - self._times[0], 1_000_000_000)
        return len(self._times) * 1e9 / window_ns
