"""What the machine did during all scenarios of an artifact, and which engine really ran."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.budget import Measurement
from benchmarks.device.watch import Course

from .finding import Finding

__all__ = ["MachineFinding"]


@dataclass(frozen=True, slots=True)
class MachineFinding(Finding):
    """The state of the device, before, during and after; and the engine's own description."""

    course: Course
    session: Mapping[str, str]
    """Engine, version, device, precision and threads as really used."""

    def rows(self) -> Mapping[str, str]:
        """See ``Finding``."""
        told = [f"{key} {value}" for key, value in self.session.items() if key != "engine"]
        course = self.course
        hottest = max(course.hottest_c.values(), default=None)
        rows = {
            "ran on": f"{self.session.get('engine', '')} {', '.join(told)}",
        }
        if course.modes[0] is not None:
            rows["power mode"] = course.modes[0]
        return rows if hottest is None else {**rows, "hottest, C": f"{hottest:.0f}"}

    def measurements(self) -> list[Measurement]:
        """See ``Finding``; nothing of this is limited."""
        return []

    def to_object(self) -> Mapping[str, Any]:
        """See ``Finding``."""
        return {"session": dict(self.session), "machine": self.course.to_object()}
