"""The state of a device at one moment: clocks, governors, temperatures, throttling, load."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from runtime.cores import own_cores

from .readings import folders, number, text

__all__ = ["State", "power_mode", "read_state"]

_CPU: Final = "sys/devices/system/cpu"
_GPU: Final = re.compile(r"gpu|gv11b|ga10b|gp10b|gm20b")
"""Integrated GPUs of Jetsons among the devices whose clock the kernel scales."""
_NO_THROTTLE: Final = re.compile(r"fan|TCC Offset|display|backlight", re.IGNORECASE)
"""Cooling devices whose state does not slow the processor."""
_RASPBERRY: Final = "sys/devices/platform/soc/soc:firmware/get_throttled"
_RASPBERRY_BITS: Final = (
    "under-voltage",
    "frequency capped",
    "throttled",
    "soft temperature limit",
)
_COLDEST_C: Final = -100.0
"""Jetsons report -256 for a sensor of a part that is switched off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One look at the device; what it does not tell is None or missing."""

    at_ns: int
    """``time.monotonic_ns``."""
    governors: Sequence[str]
    """Different ones of the cores that this process may use."""
    cpu_mhz: Sequence[float]
    """Clock of each of these cores."""
    cpu_limits_mhz: tuple[float, float] | None
    """Lowest and highest clock that is allowed now."""
    turbo: bool | None
    gpu_mhz: Mapping[str, float]
    """Clocks of integrated GPUs."""
    temperatures_c: Mapping[str, float]
    throttle_events: Mapping[str, int]
    """Counters of the processor and of over-current alarms; they only grow."""
    throttling: Mapping[str, int]
    """Cooling devices that slow the processor just now, and how far."""
    load: Sequence[float]
    """Average numbers of running processes over 1, 5 and 15 minutes."""
    ticks: tuple[int, int] | None
    """CPU time stolen by the hypervisor, and all CPU time, since boot; in clock ticks."""
    swapped_in_pages: int | None
    memory_available_mb: float | None

    @property
    def clocks_locked(self) -> bool | None:
        """Whether the cores cannot change their clock, as after ``jetson_clocks``."""
        return None if self.cpu_limits_mhz is None else len(set(self.cpu_limits_mhz)) == 1

    def to_object(self) -> Mapping[str, Any]:
        """Return everything but raw counters of time, for a report."""
        told = {key: value for key, value in asdict(self).items() if key not in ("at_ns", "ticks")}
        return {**told, "clocks_locked": self.clocks_locked}


def read_state(root: Path = Path("/")) -> State:
    """Look at the device; some 1 ms on a small one.

    Args:
        root: Where ``sys`` and ``proc`` are.
    """
    cores = [root / _CPU / f"cpu{core}" for core in own_cores()]
    return State(
        at_ns=time.monotonic_ns(),
        governors=_governors(cores),
        cpu_mhz=_clocks_mhz(root, cores),
        cpu_limits_mhz=_limits_mhz(cores),
        turbo=_turbo(root),
        gpu_mhz=_gpu_mhz(root),
        temperatures_c=_temperatures_c(root),
        throttle_events=_throttle_events(root, cores),
        throttling=_throttling(root),
        load=_load(root),
        ticks=_ticks(root),
        swapped_in_pages=_field(root / "proc/vmstat", "pswpin"),
        memory_available_mb=_megabytes(_field(root / "proc/meminfo", "MemAvailable:")),
    )


def power_mode() -> str | None:
    """Return the power mode of a Jetson, as ``nvpmodel -q`` names it; None elsewhere."""
    tool = shutil.which("nvpmodel")
    if tool is None:
        return None
    try:
        done = subprocess.run(
            [tool, "-q"], capture_output=True, text=True, check=True, timeout=10, errors="replace"
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"NV Power Mode:\s*(\S+)", done.stdout)
    return found.group(1) if found else None


def _governors(cores: Sequence[Path]) -> Sequence[str]:
    found = [text(core / "cpufreq/scaling_governor") for core in cores]
    return sorted({governor for governor in found if governor})


def _clocks_mhz(root: Path, cores: Sequence[Path]) -> Sequence[float]:
    found = [number(core / "cpufreq/scaling_cur_freq") for core in cores]
    known = [clock / 1e3 for clock in found if clock is not None]
    if known:
        return known
    lines = re.findall(r"^cpu MHz\s*:\s*([\d.]+)", text(root / "proc/cpuinfo") or "", re.MULTILINE)
    return [float(clock) for clock in lines]


def _limits_mhz(cores: Sequence[Path]) -> tuple[float, float] | None:
    low = [number(core / "cpufreq/scaling_min_freq") for core in cores]
    high = [number(core / "cpufreq/scaling_max_freq") for core in cores]
    lows, highs = ([each / 1e3 for each in values if each is not None] for values in (low, high))
    return (min(lows), max(highs)) if lows and highs else None


def _turbo(root: Path) -> bool | None:
    no_turbo = number(root / _CPU / "intel_pstate/no_turbo")
    if no_turbo is not None:
        return no_turbo == 0
    boost = number(root / _CPU / "cpufreq/boost")
    return None if boost is None else boost == 1


def _gpu_mhz(root: Path) -> Mapping[str, float]:
    found = {
        folder.name: number(folder / "cur_freq")
        for folder in folders(root / "sys/class/devfreq", "*")
        if _GPU.search(folder.name)
    }
    return {name: clock / 1e6 for name, clock in found.items() if clock is not None}


def _temperatures_c(root: Path) -> Mapping[str, float]:
    zones = {
        text(zone / "type") or zone.name: number(zone / "temp")
        for zone in folders(root / "sys/class/thermal", "thermal_zone*")
    }
    for chip in folders(root / "sys/class/hwmon", "hwmon*"):
        if text(chip / "name") in ("coretemp", "k10temp", "cpu_thermal"):
            for sensor in folders(chip, "temp*_input"):
                label = text(chip / sensor.name.replace("_input", "_label")) or sensor.name
                zones.setdefault(label, number(sensor))
    found = {name: value / 1e3 for name, value in zones.items() if value is not None}
    return {name: degrees for name, degrees in found.items() if degrees > _COLDEST_C}


def _throttle_events(root: Path, cores: Sequence[Path]) -> Mapping[str, int]:
    counts: dict[str, int] = {}
    for name in ("core_throttle_count", "package_throttle_count"):
        found = [number(core / "thermal_throttle" / name) for core in cores]
        known = [count for count in found if count is not None]
        if known:
            # All cores of a package show the package's count.
            counts[name] = sum(known) if name.startswith("core") else max(known)
    for chip in folders(root / "sys/class/hwmon", "hwmon*"):
        for counter in folders(chip, "oc*_event_cnt"):
            count = number(counter)
            if count is not None:
                counts[counter.name] = counts.get(counter.name, 0) + count
    return counts


def _throttling(root: Path) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for cooler in folders(root / "sys/class/thermal", "cooling_device*"):
        kind, state = text(cooler / "type") or cooler.name, number(cooler / "cur_state")
        if state is not None and state > 0 and not _NO_THROTTLE.search(kind):
            found[kind] = max(state, found.get(kind, 0))
    bits = text(root / _RASPBERRY)
    if bits and re.fullmatch(r"[0-9a-fA-F]+", bits):
        now = int(bits, 16)
        found.update({name: 1 for place, name in enumerate(_RASPBERRY_BITS) if now >> place & 1})
    return found


def _load(root: Path) -> Sequence[float]:
    words = (text(root / "proc/loadavg") or "").split()[:3]
    return [float(word) for word in words]


def _ticks(root: Path) -> tuple[int, int] | None:
    line = (text(root / "proc/stat") or "").partition("\n")[0].split()
    if len(line) < 9 or line[0] != "cpu":
        return None
    fields = [int(word) for word in line[1:9]]  # guest time, which follows, is part of user time
    return fields[7], sum(fields)


def _field(path: Path, name: str) -> int | None:
    found = re.search(rf"^{re.escape(name)}\s+(\d+)", text(path) or "", re.MULTILINE)
    return int(found.group(1)) if found else None


def _megabytes(kibibytes: int | None) -> float | None:
    return None if kibibytes is None else kibibytes * 1024 / 1e6
