"""Energy of a processor's packages and memory, from its own counters (RAPL) through powercap.

The counters are in microjoules and start again from 0 after ``max_energy_range_uj``. Since
CVE-2020-8694 (PLATYPUS) only root may read them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .energy import Energy
from .readings import folders, number, text

__all__ = ["RaplMeter", "find_rapl"]

_ZONES: Final = "sys/class/powercap"


@dataclass(frozen=True, slots=True)
class Zone:
    """One counter."""

    name: str
    """``package-0``, ``package-0 dram``."""
    counter: Path
    range_uj: int | None
    counted: bool
    """Whether it is no part of another zone that counts."""


class RaplMeter:
    """Reads all counters when it is started and stopped; a run must be shorter than one round.

    A round lasts 43 minutes at 100 W.

    Args:
        zones: At least one that counts.
    """

    def __init__(self, zones: Sequence[Zone]) -> None:
        self._zones = zones
        self._start_s, self._start_uj = 0.0, list[int | None]()

    def start(self) -> None:
        """See ``Meter``."""
        self._start_s, self._start_uj = time.monotonic(), self._read()

    def stop(self) -> Energy | str:
        """See ``Meter``."""
        seconds = time.monotonic() - self._start_s
        parts: dict[str, float] = {}
        for zone, first, last in zip(self._zones, self._start_uj, self._read(), strict=True):
            if first is None or last is None:
                return f"RAPL: {zone.counter} cannot be read any more"
            if last < first and zone.range_uj is None:
                return f"RAPL: {zone.counter} started again from 0 and does not tell its range"
            parts[zone.name] = (last - first + (zone.range_uj or 0) * (last < first)) / 1e6
        counted = [zone.name for zone in self._zones if zone.counted]
        return Energy(
            source=f"RAPL: {' + '.join(counted)}",
            joules=sum(parts[name] for name in counted),
            seconds=seconds,
            parts_j=parts,
        )

    def _read(self) -> list[int | None]:
        return [number(zone.counter) for zone in self._zones]


def find_rapl(root: Path = Path("/")) -> RaplMeter | str:
    """Return the meter of this processor, or why there is none."""
    zones = [
        zone
        for folder in folders(root / _ZONES, "intel-rapl:*")
        if (zone := _zone(folder)) is not None
    ]
    if not zones:
        return "no RAPL counters (/sys/class/powercap)"
    forbidden = [zone for zone in zones if not os.access(zone.counter, os.R_OK)]
    if forbidden:
        return "only root may read the RAPL counters (since CVE-2020-8694); run as root"
    return RaplMeter(zones)


def _zone(folder: Path) -> Zone | None:
    """Return packages and their memory; cores and graphics are parts of the package."""
    name, parts = text(folder / "name"), folder.name.split(":")
    if name is None or not (folder / "energy_uj").exists():
        return None
    parent = text(folder.parent / ":".join(parts[:2]) / "name")
    nested = len(parts) > 2
    return Zone(
        name=f"{parent} {name}" if nested else name,
        counter=folder / "energy_uj",
        range_uj=number(folder / "max_energy_range_uj"),
        counted=name == "dram" if nested else name.startswith("package"),
    )
