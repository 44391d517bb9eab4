"""Watching an artifact after it came into use, until it has proved itself or must go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .errors import ConfigError
from .health import FAILED, Health
from .statistics import Stats

__all__ = ["CONFIRMED", "Probation", "ProbationOptions"]

CONFIRMED: Final = "confirmed"
_SLOW_LOOKS: Final = 3
"""Looks in a row at which calls were slow: a machine may stall once."""
_SLOW_NS: Final = 20_000_000
"""Per image; up to this no engine is called slow: the scheduler alone may take as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbationOptions:
    """When an artifact that just came into use is rolled back.

    Raises:
        ConfigError: a value out of range.
    """

    watch_s: float = 300.0
    """How long it is watched, > 0, in seconds."""
    min_images: int = 20
    """Images that it must have answered before shares count and before it is confirmed, >= 1."""
    max_failed: float = 0.05
    """Largest share of images that the engine failed on or gave NaN for, in [0, 1]."""
    max_slowdown: float = 10.0
    """The engine may take this many times what a call for one image took when it was loaded, per
    image, > 1."""
    max_abstained: float = 1.0
    """Largest share of answers that are not accepted, in [0, 1]; 1: any."""

    def __post_init__(self) -> None:
        shares = (self.max_failed, self.max_abstained)
        fits = self.watch_s > 0 and self.min_images >= 1 and self.max_slowdown > 1
        if not (fits and all(0 <= share <= 1 for share in shares)):
            raise ConfigError(
                "expected watch_s > 0, min_images >= 1, max_slowdown > 1, max_failed and "
                f"max_abstained in [0, 1], got {self}"
            )


class Probation:
    """Compares what a reader does with what is allowed; look at it some times a second.

    Args:
        options: What is allowed.
        stats: The reader's, from when the artifact came into use.
        usual_ns: What an engine call for one image takes.
        now_s: ``time.monotonic()`` then.
    """

    def __init__(
        self, options: ProbationOptions, stats: Stats, *, usual_ns: int, now_s: float
    ) -> None:
        self._options = options
        self._start = self._last = stats
        self._limit_ns = max(_SLOW_NS, int(usual_ns * options.max_slowdown))
        self._until_s = now_s + options.watch_s
        self._slow_looks = 0

    def look(self, health: Health, stats: Stats, now_s: float) -> str | None:
        """Judge what happened so far.

        Returns:
            ``CONFIRMED``; None: go on; or why the artifact must go.
        """
        if health.state == FAILED:
            return health.reason
        slow = self._look_at_calls(stats)
        answered = stats.answered - self._start.answered
        failed = stats.engine_failures - self._start.engine_failures
        options = self._options
        if slow is not None:
            return slow
        if answered + failed >= options.min_images:
            if failed > options.max_failed * (answered + failed):
                return f"the engine failed on {failed} of {answered + failed} images"
            abstained = answered - (stats.accepted - self._start.accepted)
            if abstained > options.max_abstained * answered:
                return f"{abstained} of {answered} answers were not accepted"
        return CONFIRMED if now_s >= self._until_s and answered >= options.min_images else None

    def _look_at_calls(self, stats: Stats) -> str | None:
        images = _images(stats) - _images(self._last)
        if not images:
            return None
        mean_ns = (stats.engine_ns - self._last.engine_ns) // images
        self._last = stats
        self._slow_looks = self._slow_looks + 1 if mean_ns > self._limit_ns else 0
        if self._slow_looks < _SLOW_LOOKS:
            return None
        return (
            f"the engine takes {mean_ns / 1e6:.1f} ms per image, more than "
            f"{self._limit_ns / 1e6:.1f} ms; when it was loaded it did not"
        )


def _images(stats: Stats) -> int:
    """Return how many images the engine was called for."""
    return sum(size * calls for size, calls in stats.batch_sizes.items())
