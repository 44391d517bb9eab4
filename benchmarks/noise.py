"""Whether the machine was quiet while something was timed.

Other processes on the same cores make a timing slower, never faster. So a measurement carries the
cores that they used meanwhile; above ``QUIET_CORES`` it is *noisy* and a limit that it misses is
not held against it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

__all__ = ["QUIET_CORES", "Noise", "NoiseWatch", "quietest"]

QUIET_CORES: Final = 0.12
_STAT: Final = Path("/proc/stat")


@dataclass(frozen=True, slots=True)
class Noise:
    """CPU time that others used during a measurement."""

    other_cores: float | None
    """Average number of cores kept busy by other processes; None where it cannot be read."""

    @property
    def noisy(self) -> bool:
        """Whether others used so much that the timing is in doubt, or nobody knows."""
        return not (self.other_cores is not None and self.other_cores <= QUIET_CORES)

    def to_object(self) -> Mapping[str, Any]:
        """Return the numbers for a report."""
        return {"noisy": self.noisy, "other_cores": self.other_cores}


class NoiseWatch:
    """Compares the machine's busy time with our own, from construction to ``read``."""

    def __init__(self) -> None:
        self._busy, self._own, self._start = _busy_s(), _own_s(), time.perf_counter()

    def read(self) -> Noise:
        """Return what others used since construction; call it after at least 0.1 s."""
        busy, own, now = _busy_s(), _own_s(), time.perf_counter()
        if busy is None or self._busy is None:
            return Noise(None)
        others = (busy - self._busy) - (own - self._own)
        # The kernel counts in ticks of 10 ms, so the difference can come out slightly negative.
        return Noise(max(0.0, others / max(now - self._start, 1e-9)))


def _own_s() -> float:
    """CPU seconds of this process and of its children that have ended."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def _busy_s() -> float | None:
    """Seconds that all cores together were not idle since boot; None without ``/proc/stat``."""
    try:
        fields = _STAT.read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in fields)
    # Guest time, the fields after these, is already part of user time.
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


class Watched(Protocol):
    """A measurement that knows how noisy it was."""

    @property
    def noise(self) -> Noise:
        """What others used meanwhile."""


WatchedT = TypeVar("WatchedT", bound=Watched)


def quietest(measure: Callable[[], WatchedT], *, tries: int, pause_s: float = 1.0) -> WatchedT:
    """Measure until the machine was quiet, at most ``tries`` times; return the quietest."""
    best = measure()
    for _ in range(tries - 1):
        if not best.noise.noisy or best.noise.other_cores is None:
            break
        time.sleep(pause_s)
        again = measure()
        if (again.noise.other_cores or 0.0) < best.noise.other_cores:
            best = again
    return best
