"""Lines of NVIDIA's ``tegrastats``, of JetPack 4 to 7, and the energy of its rails.

The utility is described in NVIDIA's Jetson Linux Developer Guide ("tegrastats Utility"). Rails
stand as ``NAME current/average``, in mW, with the unit from JetPack 5 on; temperatures as
``name@40.5C``, or twice the value with a slash from JetPack 7 on; the GPU's load as
``GR3D_FREQ 84%``, with its clock behind ``@`` on some.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .energy import Energy, Power, integrate
from .rails import whole_device

__all__ = ["Line", "Tegrastats", "parse_line"]

_INTERVAL_MS: Final = 100
_SOURCE: Final = "tegrastats"
_RAM: Final = re.compile(r"\bRAM (\d+)/(\d+)MB")
_SWAP: Final = re.compile(r"\bSWAP (\d+)/(\d+)MB")
_CPU: Final = re.compile(r"\bCPU \[([^\]]*)\]")
_CORE: Final = re.compile(r"(\d+)%@(\d+)")
_GPU: Final = re.compile(r"\bGR3D(?:_FREQ)? (\d+)%(?:@\[?(\d+))?")
_MEMORY_LOAD: Final = re.compile(r"\bEMC(?:_FREQ)? (\d+)%(?:@(\d+))?")
_TEMPERATURE: Final = re.compile(r"(?<!\S)([A-Za-z][\w-]*)@(-?\d+(?:\.\d+)?)C")
_RAIL: Final = re.compile(r"(?<!\S)([A-Z][A-Z0-9_]*) (\d+)(?:mW)?/(\d+)(?:mW)?(?!\S)")
_ABSENT_C: Final = -100.0
_FIXED: Final = frozenset({"PMIC"})
"""Its sensor always shows 100 C (JetPack 4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What one line tells; None or missing where it does not."""

    ram_mb: int | None
    ram_total_mb: int | None
    swap_mb: int | None
    cpu_load: Sequence[float | None]
    """Share by core; None for one that is switched off."""
    cpu_mhz: Sequence[int]
    """Clocks of the cores that are on."""
    gpu_load: float | None
    gpu_mhz: int | None
    memory_load: float | None
    """Share of the memory controller's bandwidth."""
    temperatures_c: Mapping[str, float]
    power_w: Power
    """By rail, just now."""


def parse_line(line: str) -> Line:
    """Return what a line of ``tegrastats`` tells; unknown words are passed over."""
    ram, swap = _RAM.search(line), _SWAP.search(line)
    cores = _CPU.search(line)
    words = cores.group(1).split(",") if cores else []
    busy = [_CORE.fullmatch(word.strip()) for word in words]
    gpu, memory = _GPU.search(line), _MEMORY_LOAD.search(line)
    degrees = {name: float(value) for name, value in _TEMPERATURE.findall(line)}
    return Line(
        ram_mb=int(ram.group(1)) if ram else None,
        ram_total_mb=int(ram.group(2)) if ram else None,
        swap_mb=int(swap.group(1)) if swap else None,
        cpu_load=[int(core.group(1)) / 100 if core else None for core in busy],
        cpu_mhz=[int(core.group(2)) for core in busy if core],
        gpu_load=int(gpu.group(1)) / 100 if gpu else None,
        gpu_mhz=int(gpu.group(2)) if gpu and gpu.group(2) else None,
        memory_load=int(memory.group(1)) / 100 if memory else None,
        temperatures_c={
            name: value
            for name, value in degrees.items()
            if name not in _FIXED and value > _ABSENT_C
        },
        power_w={name: int(now) / 1e3 for name, now, _ in _RAIL.findall(line) if name != "NC"},
    )


class Tegrastats:
    """A meter that runs ``tegrastats`` while it measures.

    Args:
        command: The program and its options.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._child: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._seen: list[tuple[float, Power]] = []

    @classmethod
    def find(cls) -> Tegrastats | None:
        """Return the meter where the program is installed."""
        tool = shutil.which("tegrastats")
        return None if tool is None else cls([tool, "--interval", str(_INTERVAL_MS)])

    def start(self) -> None:
        """See ``Meter``."""
        self._seen = []
        try:
            self._child = subprocess.Popen(
                self._command,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                errors="replace",
            )
        except OSError:
            self._child = None
            return
        self._thread = threading.Thread(target=self._read, name=_SOURCE, daemon=True)
        self._thread.start()

    def stop(self) -> Energy | str:
        """See ``Meter``."""
        if self._child is None:
            return f"{_SOURCE}: {self._command[0]} cannot be started"
        self._child.terminate()
        self._child.wait(timeout=10)
        if self._thread is not None:
            self._thread.join()
        if self._child.stdout is not None:
            self._child.stdout.close()
        return integrate(_SOURCE, whole_device, self._seen)

    def _read(self) -> None:
        lines = self._child.stdout if self._child is not None else None
        for line in lines or ():
            power = parse_line(line).power_w
            if power:
                self._seen.append((time.monotonic(), power))
