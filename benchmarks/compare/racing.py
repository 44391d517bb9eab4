"""Whether NEW is slower than OLD: by turns, after OLD against itself.

The A/A comparison comes first, two sessions of OLD that cannot differ but by how the machine placed
and treated them. Where its interval stays away from 1, so much is the machine's doing, and the
interval of OLD against NEW is widened by it.

An inconclusive comparison goes on, twice at most. Looking up to three times would give luck three
chances, so every look takes a third of the allowed error (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from benchmarks.budget import Limit, Measurement, Outcome, Verdict, judge
from benchmarks.noise import Noise
from benchmarks.scenarios import Comparison, Query, Speedup, compare_interleaved

__all__ = ["LOOKS", "ROUNDS", "Race", "Track", "noise_floor", "race", "slowdown_limit"]

ROUNDS: Final = 60
LOOKS: Final = 3
_NEW: Final = "NEW"


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """How to time."""

    threads: int = 1
    """Of the engines."""
    rounds: int = ROUNDS
    """Of the A/A comparison, of the first look and of the second; the third has twice as many."""
    block_s: float = 0.02
    """Length of a block."""
    seed: int = 0
    """Of the order within rounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """OLD and NEW timed by turns."""

    of: str
    """``engine`` or ``read``."""
    floor: Comparison
    """OLD against itself."""
    parts: Sequence[Comparison]
    """OLD against NEW, one part per look."""
    bias: float = field(init=False)
    """How far OLD is away from itself at least, as a factor: 1 where it may be equal."""

    def __post_init__(self) -> None:
        low, high = self.floor.speedups[_NEW].bounds(0.99)
        object.__setattr__(self, "bias", max(1.0, low, 1 / high))

    @property
    def speedup(self) -> Speedup:
        """Of NEW, over all rounds."""
        return Speedup(np.concatenate([part.speedups[_NEW].rounds for part in self.parts]))

    @property
    def noise(self) -> Noise:
        """That of the noisiest part."""
        found = [part.noise.other_cores for part in (self.floor, *self.parts)]
        known = [cores for cores in found if cores is not None]
        return Noise(max(known) if len(known) == len(found) else None)

    def bounds(self, confidence: float) -> tuple[float, float]:
        """Return bounds of the speedup, each alone with ``confidence`` over all looks."""
        low, high = self.speedup.bounds(1 - (1 - confidence) / LOOKS)
        return low / self.bias, high * self.bias

    def measurement(self) -> Measurement:
        """Return what a limit judges."""
        return Measurement(
            metric=f"speedup.{self.of}",
            value=self.speedup.value,
            samples=len(self.speedup.rounds),
            bounds=self.bounds,
            stat="p50",
            scenario="interleaved",
        )

    def verdict(self, limit: Limit) -> Verdict:
        """Judge the race."""
        (verdict,) = judge([self.measurement()], [limit])
        return verdict

    def rows(self) -> Mapping[str, str]:
        """Return name to text of every headline number; slowdowns, as a limit on them is given."""
        low, high = self.bounds(0.95)
        again = self.floor.speedups[_NEW].bounds(0.99)
        return {
            f"{self.of}: slower by": f"{1 / self.speedup.value - 1:+.2%}",
            f"{self.of}: bounds, 95 %": f"{1 / high - 1:+.2%} to {1 / low - 1:+.2%}",
            f"{self.of}: OLD against itself": f"{1 / again[1] - 1:+.2%} to {1 / again[0] - 1:+.2%}",
            f"{self.of}: rounds": str(len(self.speedup.rounds)),
        }

    def to_object(self) -> Mapping[str, Any]:
        """Return everything for a report."""
        return {
            "speedup": self.speedup.value,
            "bounds": self.bounds(0.95),
            "bias": self.bias,
            "rounds": len(self.speedup.rounds),
            "old_against_itself": self.floor.to_object(),
            "parts": [part.to_object() for part in self.parts],
            **self.noise.to_object(),
        }


def slowdown_limit(of: str, most: float, confidence: float) -> Limit:
    """Return the limit that NEW is at most the share ``most`` slower than OLD."""
    return Limit(metric=f"speedup.{of}", min=1 / (1 + most), confidence=confidence)


def noise_floor(old: Query, again: Query, track: Track) -> Comparison:
    """Time OLD against itself (A/A): what is seen here is the machine, not the artifact.

    Args:
        old: A query of OLD.
        again: The same of another session of OLD.
        track: How to time.
    """
    queries = {"OLD": old, _NEW: again}
    return compare_interleaved(queries, rounds=track.rounds, block_s=track.block_s, seed=track.seed)


def race(of: str, old: Query, new: Query, floor: Comparison, limit: Limit, track: Track) -> Race:
    """Time OLD and NEW by turns until ``limit`` can be judged, three looks at most.

    Args:
        of: ``engine`` or ``read``.
        old: A query of OLD.
        new: The same of NEW.
        floor: What ``noise_floor`` returned.
        limit: What ``slowdown_limit`` returned.
        track: How to time.

    Raises:
        EngineError: an answer was wrong, so that the comparison is void.
    """
    queries, parts = {"OLD": old, _NEW: new}, list[Comparison]()
    for look in range(LOOKS):
        rounds, seed = track.rounds * max(1, look), track.seed + 1 + look
        parts.append(compare_interleaved(queries, rounds=rounds, block_s=track.block_s, seed=seed))
        found = Race(of=of, floor=floor, parts=tuple(parts))
        if found.verdict(limit).outcome is not Outcome.INCONCLUSIVE:
            break
    return found
