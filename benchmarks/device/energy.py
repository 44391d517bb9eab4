"""The energy that a device took, from whatever it has to tell it: counters or sensors of power."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Energy", "Meter", "Power", "PowerMeter", "Total", "integrate"]

_INTERVAL_S: Final = 0.1

Power: TypeAlias = Mapping[str, float]
"""Watts by rail."""
Total: TypeAlias = Callable[[Sequence[str]], Sequence[str]]
"""From the rails that there are to those whose sum is the device's power."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """What was taken between a meter's start and its stop."""

    source: str
    """What was read, in words."""
    joules: float
    seconds: float
    parts_j: Mapping[str, float]
    """By domain or rail; some are parts of others, so they need not add up to ``joules``."""

    @property
    def watts(self) -> float:
        """Average power."""
        return self.joules / self.seconds

    def to_object(self) -> Mapping[str, Any]:
        """Return everything for a report."""
        return {
            "source": self.source,
            "joules": self.joules,
            "seconds": self.seconds,
            "watts": self.watts,
            "parts_j": dict(self.parts_j),
        }


class Meter(Protocol):
    """Measures energy between ``start`` and ``stop``, again and again."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> Energy | str:
        """End; return the energy since ``start``, or why it is not known."""


class PowerMeter:
    """Adds up readings of power, which a thread takes; for sensors without a counter.

    Measure energy apart from latency: the thread stops Python for a moment at every reading.

    Args:
        source: What is read, in words.
        total: Which rails together are the device's power; of all, those that are there.
        read: Returns watts by rail.
        interval_s: Time between two readings.
    """

    def __init__(
        self,
        source: str,
        total: Total,
        read: Callable[[], Power],
        interval_s: float = _INTERVAL_S,
    ) -> None:
        self._source, self._total, self._read = source, total, read
        self._interval_s = interval_s
        self._end = threading.Event()
        self._seen: list[tuple[float, Power]] = []
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """See ``Meter``."""
        self._end.clear()
        self._seen = []
        self._thread = threading.Thread(target=self._watch, name="power", daemon=True)
        self._thread.start()

    def stop(self) -> Energy | str:
        """See ``Meter``."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        return integrate(self._source, self._total, self._seen)

    def _watch(self) -> None:
        while True:
            power = self._read()
            if power:
                self._seen.append((time.monotonic(), power))
            if self._end.wait(self._interval_s):
                return


def integrate(
    source: str,
    total: Total,
    seen: Sequence[tuple[float, Power]],
) -> Energy | str:
    """Return the energy of readings of power by the trapezoidal rule, or why there is none.

    Args:
        source: What was read.
        total: As for ``PowerMeter``.
        seen: Time in seconds and watts by rail.
    """
    names = sorted(set.intersection(*(set(power) for _, power in seen))) if seen else []
    counted = total(names)
    if len(seen) < 2 or not counted:
        return f"{source}: {len(seen)} readings of power are too few; measure longer (--duration)"
    times = np.array([at for at, _ in seen])
    parts = {name: float(_area([power[name] for _, power in seen], times)) for name in names}
    return Energy(
        source=f"{source}: {' + '.join(counted)}",
        joules=sum(parts[name] for name in counted),
        seconds=float(times[-1] - times[0]),
        parts_j=parts,
    )


def _area(heights: Sequence[float], places: npt.NDArray[np.float64]) -> float:
    values = np.array(heights)
    return float(((values[1:] + values[:-1]) / 2 * np.diff(places)).sum())
