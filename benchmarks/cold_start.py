"""From starting a process to its first answer, and the memory that it then holds.

Every run is a fresh Python process that imports the runtime, verifies and loads the artifact,
checks its golden vectors and reads one image, as a gateway does after a restart. The clock starts
in the parent before the process is made. The files are in the page cache from the second run on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from runtime import errors
from runtime.errors import EngineError

from .noise import NoiseWatch
from .scenarios import Latency

__all__ = ["ColdStarts", "cold_starts"]

# CLOCK_MONOTONIC is one clock for all processes of a machine.
_CHILD: Final = """
import json
import sys
import time
import numpy as np
from runtime.reader import Reader
folder, threads, height, width = sys.argv[1], *map(int, sys.argv[2:])
with Reader.open(folder, threads=threads) as reader:
    reader.read(np.full((height, width, 3), 90, np.uint8))
    done = time.monotonic_ns()
    try:
        with open("/proc/self/smaps_rollup", encoding="ascii") as lines:
            pss = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    except OSError:
        pss = None
print(json.dumps({"done": done, "pss": pss}))
"""


@dataclass(frozen=True, slots=True)
class ColdStarts:
    """What fresh processes took."""

    latency: Latency
    """From before the process was made to its first answer."""
    pss_mb: float | None
    """Largest proportional set size after the first answer, 10^6 bytes; None if not readable."""


def cold_starts(
    folder: Path, *, runs: int, threads: int, image_shape: tuple[int, int]
) -> ColdStarts:
    """Start ``runs`` fresh processes one after the other.

    Args:
        folder: The artifact.
        runs: Number of processes, at least 1.
        threads: Threads of the engine.
        image_shape: Height and width of the image to read, px.

    Raises:
        EngineError: a process failed; with what it said last.
    """
    watch = NoiseWatch()
    times, sizes = list[int](), list[float]()
    options = [str(folder.resolve()), *map(str, (threads, *image_shape))]
    # The child must find the very runtime that this process uses, wherever it was started.
    path = os.pathsep.join(
        [str(Path(errors.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    )
    for _ in range(runs):
        began = time.monotonic_ns()
        child = subprocess.run(
            [sys.executable, "-c", _CHILD, *options],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        if child.returncode:
            last = (child.stderr.strip().splitlines() or [""])[-1]
            raise EngineError(f"a fresh process could not read with {folder}: {last}")
        told = json.loads(child.stdout)
        times.append(told["done"] - began)
        if told["pss"] is not None:
            sizes.append(told["pss"] * 1024 / 1e6)
    latency = Latency(np.array(times, np.int64), watch.read())
    return ColdStarts(latency, max(sizes, default=None))
