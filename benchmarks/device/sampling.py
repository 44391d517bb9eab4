"""Looks at the device again and again, in a process of its own, until its stdin ends.

A thread would stop the process that is being timed at every look. Every line on stdout is a
state as JSON. The process ends with its parent, whatever becomes of that, because a pipe does.
"""

from __future__ import annotations

import json
import select
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from .state import State, read_state

__all__ = ["COMMAND", "INTERVAL_S", "main", "state_of"]

INTERVAL_S: Final = 1.0
COMMAND: Final = "import sys; from benchmarks.device.sampling import main; main(*sys.argv[1:])"
"""Python code that samples, with an interval and a root as its arguments."""


def state_of(value: Mapping[str, Any]) -> State:
    """Return the state that a line holds."""
    pairs = {key: value[key] and tuple(value[key]) for key in ("cpu_limits_mhz", "ticks")}
    return State(**{**value, **pairs})


def main(interval_s: str = str(INTERVAL_S), root: str = "/") -> None:
    """Write a state at once and then every ``interval_s``, until stdin ends."""
    while True:
        sys.stdout.write(json.dumps(asdict(read_state(Path(root)))) + "\n")
        sys.stdout.flush()
        if select.select([sys.stdin], [], [], float(interval_s))[0]:
            return
