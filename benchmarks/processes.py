"""What the kernel says of another process: processor time and memory."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path

from runtime.errors import ConfigError

__all__ = ["cpu_s", "pss_mb"]


def cpu_s(pid: int) -> float:
    """Return the processor time of a process so far, all threads together, in seconds.

    ``/proc/PID/stat`` counts in ticks of 10 ms; this clock is as fine as the scheduler's.

    Raises:
        ConfigError: there is no such process.
    """
    clock = ctypes.c_int()
    if ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise ConfigError(f"there is no process {pid}")
    try:
        return time.clock_gettime(clock.value)
    except OSError as error:
        raise ConfigError(f"process {pid} ended: {error}") from error


def pss_mb(pid: int) -> float | None:
    """Return the proportional set size in 10^6 bytes; None where it cannot be read."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("Pss:"))
