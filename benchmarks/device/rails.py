"""Power of a Jetson's supply rails, from its INA3221 sensors through the kernel's hwmon.

The driver gives every channel a label, a voltage in mV and a current in mA (kernel documentation,
``hwmon/ina3221``); channels above three are sums of shunt voltages and no rails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .energy import Power
from .readings import folders, number, text

__all__ = ["Rails", "find_rails", "whole_device"]

_CHANNELS: Final = (1, 2, 3)
_INPUTS: Final = ("VDD_IN", "POM_5V_IN", "VIN")
"""Rails that feed the whole module: Orin Nano and NX, Xavier NX and TX2; Nano; Thor."""
_WITHIN: Final = {"VDDQ_VDD2_1V8AO": "VIN_SYS_5V0"}
"""Rails that sums leave out, because another one that is measured feeds them: AGX Orin."""
_UNUSED: Final = "NC"


def whole_device(names: Sequence[str]) -> Sequence[str]:
    """Return the rails whose sum is the module's power: its input, or all that are not in another.

    The rails of a module without an input rail (AGX Xavier, AGX Orin) miss the carrier board.
    """
    inputs = [name for name in _INPUTS if name in names]
    if inputs:
        return inputs[:1]
    return [name for name in names if name != _UNUSED and _WITHIN.get(name) not in names]


@dataclass(frozen=True, slots=True)
class Rails:
    """The rails of one device."""

    channels: Sequence[tuple[str, Path, Path]]
    """Name, file of the voltage in mV, file of the current in mA."""

    def read(self) -> Power:
        """Return the power of every rail that can be read now, W."""
        found = {name: (number(volts), number(amperes)) for name, volts, amperes in self.channels}
        return {
            name: volts * amperes / 1e6
            for name, (volts, amperes) in found.items()
            if volts is not None and amperes is not None
        }


def find_rails(root: Path = Path("/")) -> Rails | str:
    """Return the rails of this device, or why there are none."""
    channels = []
    for chip in folders(root / "sys/class/hwmon", "hwmon*"):
        if text(chip / "name") != "ina3221":
            continue
        for channel in _CHANNELS:
            name = text(chip / f"in{channel}_label")
            if name and name != _UNUSED:
                channels.append((name, chip / f"in{channel}_input", chip / f"curr{channel}_input"))
    rails = Rails(channels)
    if not channels:
        return "no INA3221 sensor"
    return rails if rails.read() else "the INA3221 sensors cannot be read"
