"""What the scenarios ask of an artifact: how many streams, cameras and queries, how soon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

from benchmarks.scenarios.closed_loop import STREAMS
from benchmarks.scenarios.server import BOUND_MS
from runtime.errors import ConfigError

__all__ = ["Loads"]

_COUNTS: Final = ("streams", "cameras", "workers")
_POSITIVE: Final = ("rate", "bound_ms", "fps", "deadline_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loads:
    """Loads of the scenarios.

    Raises:
        ConfigError: a count below 1, or a rate or time that is not above 0.
    """

    streams: int = STREAMS
    """Samples per query of multi-stream."""
    rate: float | None = None
    """Queries per second of server; the highest that holds is searched where not given."""
    bound_ms: float = BOUND_MS
    """Within which server must answer 99 % of its queries."""
    cameras: int = 4
    """Number of cameras."""
    fps: float = 15.0
    """Frames per second of each camera."""
    jitter_ms: float = 5.0
    """Largest random delay of a frame's arrival."""
    deadline_ms: float | None = None
    """A frame that is answered later is late; the time between two frames where not given."""
    workers: int = 1
    """Threads that serve the queries of server and camera."""
    seed: int = 0
    """Of arrivals and jitter."""

    def __post_init__(self) -> None:
        counts = {name: getattr(self, name) for name in _COUNTS}
        if min(counts.values()) < 1:
            raise ConfigError(f"each of {_flags(_COUNTS)} must be at least 1, got {counts}")
        given = {name: value for name in _POSITIVE if (value := getattr(self, name)) is not None}
        if not all(isfinite(value) and value > 0 for value in given.values()):
            raise ConfigError(f"each of {_flags(_POSITIVE)} must be above 0, got {given}")
        if not (isfinite(self.jitter_ms) and self.jitter_ms >= 0 and self.seed >= 0):
            raise ConfigError(
                f"--jitter-ms and --seed must be at least 0, got {self.jitter_ms} and {self.seed}"
            )

    @classmethod
    def of(cls, values: Mapping[str, float]) -> Loads:
        """Return loads from numbers by name, those of a budget file for instance.

        Raises:
            ConfigError: a count is no whole number, or as on construction.
        """
        counts = {name: values[name] for name in (*_COUNTS, "seed") if name in values}
        if any(count != int(count) for count in counts.values()):
            raise ConfigError(f"counts must be whole numbers, got {counts}")
        whole = {name: int(count) for name, count in counts.items()}
        rest: dict[str, Any] = {name: each for name, each in values.items() if name not in counts}
        return cls(**whole, **rest)


def _flags(names: tuple[str, ...]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)
