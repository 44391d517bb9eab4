"""From starting a process to its first answer, and the memory that it then holds.

Every run is a fresh Python process that imports the runtime, verifies and loads the artifact,
checks its golden vectors and reads one image, as a gateway does after a restart. The clock starts
in the parent before the process is made. A first process, which is not timed, compiles all modules
and brings the files into the page cache.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from runtime import errors
from runtime.errors import EngineError
from runtime.staging import scratch_folder

from .device.nvml import gpu_used_mb
from .noise import NoiseWatch
from .scenarios import Latency

__all__ = ["ColdStarts", "cold_starts"]

_WRITE_NOTHING: Final = "PYTHONDONTWRITEBYTECODE"
_ON_CPU: Final = "the engine runs on the CPU"
# CLOCK_MONOTONIC is one clock for all processes of a machine. The peak is the process's own VmHWM:
# ru_maxrss begins with what the parent had.
_CHILD: Final = """
import json
import sys
import time
import numpy as np
{opener}
folder, threads, height, width, gpu = sys.argv[1], *map(int, sys.argv[2:])
with open_reader(folder, threads=threads) as reader:
    reader.read(np.full((height, width, 3), 90, np.uint8))
    done = time.monotonic_ns()
    told = {{"done": done}}
    for path in ("/proc/self/smaps_rollup", "/proc/self/status"):
        try:
            with open(path, encoding="utf-8", errors="replace") as lines:
                found = dict(line.split(":", 1) for line in lines if ":" in line)
        except OSError:
            continue
        for name in {{"Pss", "VmHWM"}} & found.keys():
            told[name] = int(found[name].split()[0])
    if gpu:
        from benchmarks.device.nvml import gpu_used_mb
        told["gpu_used_mb"] = gpu_used_mb()
print(json.dumps(told))
"""
_ARTIFACT: Final = "from runtime.reader import Reader; open_reader = Reader.open"
_BARE_MODEL: Final = "from benchmarks.foreign import open_reader"


@dataclass(frozen=True, slots=True)
class ColdStarts:
    """What fresh processes took."""

    latency: Latency
    """From before the process was made to its first answer."""
    pss_mb: float | None
    """Largest proportional set size after the first answer, 10^6 bytes; None if not readable."""
    peak_mb: float | None = None
    """Largest resident set that any process ever had, 10^6 bytes; None if not readable."""
    gpu_mb: float | None = None
    """Most that the GPUs' memory in use grew by, 10^6 bytes; None where that is not known."""
    no_gpu: str | None = None
    """Why ``gpu_mb`` is not known."""


def cold_starts(
    folder: Path, *, runs: int, threads: int, image_shape: tuple[int, int], gpu: bool = False
) -> ColdStarts:
    """Start ``runs`` fresh processes one after the other.

    Args:
        folder: The artifact, or the description of a bare model.
        runs: Number of processes, at least 1.
        threads: Threads of the engine.
        image_shape: Height and width of the image to read, px.
        gpu: Whether the engine runs on a GPU, so that its memory counts.

    Raises:
        EngineError: a process failed; with what it said last.
    """
    times = list[int]()
    sizes: dict[str, list[float]] = {"pss": [], "peak": [], "gpu": []}
    before = gpu_used_mb() if gpu else _ON_CPU
    options = [str(folder.resolve()), *map(str, (threads, *image_shape))]
    options.append(str(int(isinstance(before, float))))
    with scratch_folder() as compiled:
        # Installing compiles modules; in a source tree, perhaps nobody has, or they are not kept.
        _start(folder, options, compiled)
        watch = NoiseWatch()
        for _ in range(runs):
            began = time.monotonic_ns()
            told = _start(folder, options, compiled)
            times.append(told["done"] - began)
            for name, key in (("pss", "Pss"), ("peak", "VmHWM")):
                if key in told:
                    sizes[name].append(told[key] * 1024 / 1e6)
            used = told.get("gpu_used_mb")
            if isinstance(before, float) and isinstance(used, float):
                sizes["gpu"].append(used - before)
    latency = Latency(np.array(times, np.int64), watch.read())
    most = {name: max(found, default=None) for name, found in sizes.items()}
    return ColdStarts(
        latency, most["pss"], most["peak"], most["gpu"], before if isinstance(before, str) else None
    )


def _start(folder: Path, options: Sequence[str], compiled: Path) -> Mapping[str, Any]:
    """Start a process that keeps modules compiled in a folder, and return what it told."""
    # The child must find the very runtime that this process uses, wherever it was started.
    path = os.pathsep.join(
        [str(Path(errors.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    )
    code = _CHILD.format(opener=_ARTIFACT if folder.is_dir() else _BARE_MODEL)
    child = subprocess.run(
        [sys.executable, "-c", code, *options],
        env={
            **{name: value for name, value in os.environ.items() if name != _WRITE_NOTHING},
            "PYTHONPATH": path,
            "PYTHONPYCACHEPREFIX": str(compiled),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if child.returncode:
        last = (child.stderr.strip().splitlines() or [""])[-1]
        raise EngineError(f"a fresh process could not read with {folder}: {last}")
    told: Mapping[str, Any] = json.loads(child.stdout)
    return told
