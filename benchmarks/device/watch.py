"""What the device did during a measurement, and whether that disturbed it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import benchmarks

from .nvml import gpu_facts
from .sampling import COMMAND, INTERVAL_S, state_of
from .state import State, power_mode, read_state

__all__ = ["Course", "StateWatch"]

_STEAL: Final = 0.01
"""A hypervisor that takes more than this share of the CPU time disturbs."""
_CLOCK_FALL: Final = 0.9
_PATIENCE_S: Final = 5.0
_FREE_GOVERNORS: Final = frozenset({"ondemand", "schedutil", "conservative", "powersave"})
"""With these the clock follows the load, which is no disturbance but worth knowing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """States before, during and after a measurement."""

    before: State
    during: Sequence[State]
    after: State
    modes: tuple[str | None, str | None]
    """Power mode of a Jetson before and after."""
    gpus: Sequence[Mapping[str, Any]] | str = ()
    """What NVML told of the GPUs at the end, while they were still warm; or why it did not."""

    @property
    def states(self) -> Sequence[State]:
        """All states in order."""
        return [self.before, *self.during, self.after]

    @property
    def steal(self) -> float | None:
        """Share of all CPU time that the hypervisor gave to others."""
        if self.before.ticks is None or self.after.ticks is None:
            return None
        stolen, total = (
            after - before
            for before, after in zip(self.before.ticks, self.after.ticks, strict=True)
        )
        return stolen / total if total > 0 else None

    @property
    def hottest_c(self) -> Mapping[str, float]:
        """Highest temperature of every sensor."""
        found: dict[str, float] = {}
        for state in self.states:
            for name, degrees in state.temperatures_c.items():
                found[name] = max(degrees, found.get(name, degrees))
        return found

    @property
    def clock_range_mhz(self) -> tuple[float, float] | None:
        """Lowest and highest clock of the fastest core, over the states during the measurement."""
        fastest = [max(state.cpu_mhz) for state in self.during if state.cpu_mhz]
        return (min(fastest), max(fastest)) if fastest else None

    @property
    def disturbances(self) -> Sequence[str]:
        """Why the timing is in doubt; none: nothing that the device tells of disturbed it."""
        found = [*self._throttled(), *self._changed()]
        if self.steal is not None and self.steal > _STEAL:
            found.append(f"the hypervisor took {self.steal:.1%} of the CPU time")
        if self._clock_fell and not self._follows_load:
            low, high = self.clock_range_mhz or (0.0, 0.0)
            found.append(f"the clock fell from {high:.0f} to {low:.0f} MHz")
        swapped = _grown(self.before.swapped_in_pages, self.after.swapped_in_pages)
        if swapped:
            found.append(f"{swapped} pages were swapped in")
        return found

    @property
    def notes(self) -> Sequence[str]:
        """What makes timings vary, though nothing went wrong."""
        found = []
        slow = [name for name in self.before.governors if name != "performance"]
        if slow and not self.before.clocks_locked:
            text = f"governor {', '.join(slow)}: clocks follow the load"
            if self.clock_range_mhz is not None:
                low, high = self.clock_range_mhz
                text += f", the fastest core's was between {low:.0f} and {high:.0f} MHz"
            found.append(text)
        if not self.before.cpu_mhz:
            found.append("the device does not tell its clock")
        if not self.before.temperatures_c:
            found.append("the device does not tell its temperature")
        return found

    @property
    def _follows_load(self) -> bool:
        return bool(_FREE_GOVERNORS.intersection(self.before.governors))

    @property
    def _clock_fell(self) -> bool:
        found = self.clock_range_mhz
        return found is not None and found[0] < _CLOCK_FALL * found[1]

    def _throttled(self) -> list[str]:
        found = []
        for name, count in self.after.throttle_events.items():
            grown = _grown(self.before.throttle_events.get(name), count)
            if grown:
                found.append(f"throttled {grown} times ({name})")
        active = {name for state in self.states for name in state.throttling}
        found += [f"slowed by its cooling ({name})" for name in sorted(active)]
        if not isinstance(self.gpus, str):
            found += [f"the GPU {gpu['name']} is slowed" for gpu in self.gpus if gpu["slowed"]]
        return found

    def _changed(self) -> list[str]:
        found = []
        if self.modes[0] != self.modes[1]:
            found.append(f"the power mode changed from {self.modes[0]} to {self.modes[1]}")
        governors = {tuple(state.governors) for state in self.states}
        if len(governors) > 1:
            found.append("the governor was changed")
        return found

    def to_object(self) -> Mapping[str, Any]:
        """Return everything for a report; the states during the measurement in short."""
        return {
            "disturbed": self.disturbances,
            "notes": self.notes,
            "power_mode": self.modes[0],
            "steal": self.steal,
            "hottest_c": self.hottest_c,
            "clock_range_mhz": self.clock_range_mhz,
            "gpus": None if isinstance(self.gpus, str) else self.gpus,
            "no_gpus": self.gpus if isinstance(self.gpus, str) else None,
            "before": self.before.to_object(),
            "after": self.after.to_object(),
            "during": [
                {
                    "at_s": (state.at_ns - self.before.at_ns) / 1e9,
                    "cpu_mhz": max(state.cpu_mhz, default=None),
                    "gpu_mhz": max(state.gpu_mhz.values(), default=None),
                    "temperature_c": max(state.temperatures_c.values(), default=None),
                    "throttling": sorted(state.throttling),
                }
                for state in self.during
            ],
        }


def _grown(before: int | None, after: int | None) -> int:
    return 0 if before is None or after is None else max(0, after - before)


class StateWatch:
    """Watches the device while the block runs; then ``course`` says what it saw.

    A child process looks every second. Where none can be started, only before and after are known.

    Args:
        interval_s: Time between two looks.
        root: Where ``sys`` and ``proc`` are.
    """

    course: Course

    def __init__(self, *, interval_s: float = INTERVAL_S, root: Path = Path("/")) -> None:
        self._interval_s, self._root = interval_s, root
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> StateWatch:
        self._mode = power_mode()
        self._before = read_state(self._root)
        self._lines = tempfile.TemporaryFile("w+", encoding="utf-8")
        path = [str(Path(benchmarks.__file__ or "").parents[1]), os.environ.get("PYTHONPATH", "")]
        try:
            self._child = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    COMMAND,
                    str(self._interval_s),
                    str(self._root),
                ],
                stdin=subprocess.PIPE,
                # Not a pipe: it would fill, and the child wait, before anybody reads.
                stdout=self._lines,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            )
        except OSError:
            self._child = None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        after = read_state(self._root)
        if self._child is not None:
            _end(self._child)
        self._lines.seek(0)
        seen = [_state(line) for line in self._lines]
        self._lines.close()
        during = [state for state in seen if state is not None and state.at_ns < after.at_ns]
        self.course = Course(
            before=self._before,
            # The first look is before the warm-up: a clock that follows the load is low then.
            during=during[1:],
            after=after,
            modes=(self._mode, power_mode()),
            gpus=gpu_facts(),
        )


def _end(child: subprocess.Popen[bytes]) -> None:
    try:
        child.communicate(timeout=_PATIENCE_S)  # closes its stdin, on which it ends
    except subprocess.TimeoutExpired:  # a sensor's driver hangs
        child.kill()
        child.communicate()


def _state(line: str) -> State | None:
    try:
        return state_of(json.loads(line))
    except (ValueError, TypeError, KeyError):  # a line that was cut off
        return None
