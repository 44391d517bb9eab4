"""Finding what tells the energy of this device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .energy import Energy, Meter, PowerMeter
from .nvml import NvmlMeter, open_nvml
from .rails import Rails, find_rails, whole_device
from .rapl import find_rapl
from .tegrastats import Tegrastats

__all__ = ["Together", "find_meter"]


class Together:
    """Several meters of different parts of one device.

    Args:
        meters: At least one.
    """

    def __init__(self, meters: Sequence[Meter]) -> None:
        self._meters = meters

    def start(self) -> None:
        """See ``Meter``."""
        for meter in self._meters:
            meter.start()

    def stop(self) -> Energy | str:
        """See ``Meter``; not known as soon as one part is not known."""
        found = [meter.stop() for meter in self._meters]
        known = [each for each in found if isinstance(each, Energy)]
        if len(known) < len(found):
            return "; ".join(each for each in found if isinstance(each, str))
        seconds = known[0].seconds
        return Energy(
            source="; ".join(each.source for each in known),
            joules=sum(each.watts for each in known) * seconds,
            seconds=seconds,
            parts_j={name: part for each in known for name, part in each.parts_j.items()},
        )


def find_meter(root: Path = Path("/"), *, gpu: bool = False) -> Meter | str:
    """Return what tells the energy of this device, or why nothing does.

    Sensors of a Jetson's rails come first, then ``tegrastats``: these know the whole module. Else
    the processor's own counters and, for engines that run there, those of the GPU.

    Args:
        root: Where ``sys`` is.
        gpu: Whether the engine runs on a GPU.
    """
    rails = find_rails(root)
    if isinstance(rails, Rails):
        return PowerMeter("INA3221", whole_device, rails.read)
    stats = Tegrastats.find()
    if stats is not None:
        return stats
    counters = find_rapl(root)
    missing = [f"{rails}, no tegrastats, {counters}"] if isinstance(counters, str) else []
    meters: list[Meter] = [] if isinstance(counters, str) else [counters]
    if gpu:
        nvml = open_nvml()
        missing += [nvml] if isinstance(nvml, str) else []
        meters += [] if isinstance(nvml, str) else [NvmlMeter(nvml)]
        # The share of one part says little where the other part does the work.
        if not any(isinstance(meter, NvmlMeter) for meter in meters):
            return "; ".join(missing)
    if not meters:
        return "; ".join(missing)
    return meters[0] if len(meters) == 1 else Together(meters)
