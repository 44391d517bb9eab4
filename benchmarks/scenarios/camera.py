"""Camera: frames arrive at a fixed rate, and an answer is worth something only for a moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.intervals import Share, min_queries
from benchmarks.noise import Noise
from runtime.errors import ConfigError

from .arrivals import camera_arrivals
from .latencies import NS_PER_MS, Latency, stages_of
from .open_loop import NewestFrames, Served, serve
from .turns import System

__all__ = ["CameraRun", "camera"]

_LONGEST_S: Final = 60.0
_SPARE: Final = 1.1
"""Some frames may be dropped and tell nothing of latency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraRun:
    """What became of F frames."""

    cameras: int
    fps: float
    jitter_ms: float
    deadline_ms: float
    served: Served
    sender: npt.NDArray[np.int64]
    """(F,) camera of each frame."""
    latency: Latency
    """From a frame's arrival to its answer; of frames that were answered."""

    @property
    def noise(self) -> Noise:
        """What others used meanwhile."""
        return self.served.noise

    @property
    def dropped(self) -> Share:
        """Frames that were replaced by a newer one before anybody had time for them."""
        return Share(int((~self.served.answered).sum()), len(self.sender))

    @property
    def late(self) -> Share:
        """Frames that were answered after their deadline, of all frames."""
        return Share(int((self._late & self.served.answered).sum()), len(self.sender))

    @property
    def _late(self) -> npt.NDArray[np.bool_]:
        return self.served.latency_ns > self.deadline_ms * NS_PER_MS

    @property
    def stages(self) -> Mapping[str, Latency]:
        """Waiting of the answered frames, and the stages of the engine calls."""
        queue = Latency(self.served.queue_ns[self.served.answered], self.noise)
        return {"queue": queue, **stages_of(self.served.timings, self.noise)}

    def to_object(self) -> Mapping[str, Any]:
        """Return everything for a report, by camera too."""
        answered, sizes = self.served.answered, self.served.sizes
        frames = np.bincount(self.sender, minlength=self.cameras)
        lost = np.bincount(self.sender[~answered], minlength=self.cameras)
        late = np.bincount(self.sender[self._late & answered], minlength=self.cameras)
        return {
            "scenario": "camera",
            "cameras": self.cameras,
            "fps": self.fps,
            "jitter_ms": self.jitter_ms,
            "deadline_ms": self.deadline_ms,
            "frames": len(self.sender),
            "dropped": self.dropped.to_object(),
            "late": self.late.to_object(),
            "by_camera": {"frames": frames, "dropped": lost, "late": late},
            "samples_per_call": sum(sizes) / max(1, len(sizes)),
            "stages": {name: stage.to_object() for name, stage in self.stages.items()},
            **self.latency.to_object(),
        }


def camera(
    system: System,
    *,
    cameras: int = 4,
    fps: float = 15.0,
    jitter_ms: float = 5.0,
    deadline_ms: float | None = None,
    min_duration_s: float = 10.0,
    batch: int = 1,
    workers: int = 1,
    seed: int = 0,
) -> CameraRun:
    """Read the frames of some cameras, one crop a frame. The system must be warm.

    The cameras send for ``min_duration_s``, or longer: until 662 answers can prove a p99, but a
    minute at most.

    Args:
        system: What answers.
        cameras: Number of cameras, at least 1.
        fps: Frames per second of each, > 0.
        jitter_ms: Largest random delay of a frame's arrival, at least 0.
        deadline_ms: An answer that takes longer is late; the time between two frames if None.
        min_duration_s: How long the cameras send at least.
        batch: Most waiting frames that one call takes.
        workers: Threads that serve.
        seed: Of starts and delays.

    Raises:
        ConfigError: a number of cameras, a rate or a time that cannot be.
        EngineError: an answer was wrong, so that the run is void.
    """
    if cameras < 1 or not (0 < fps < float("inf") and 0 <= jitter_ms < float("inf")):
        raise ConfigError(
            f"a camera run needs cameras >= 1, fps > 0 and jitter >= 0, got {cameras}, {fps} and "
            f"{jitter_ms} ms"
        )
    deadline_ms = 1000 / fps if deadline_ms is None else deadline_ms
    if not 0 < deadline_ms < float("inf"):
        raise ConfigError(f"the deadline must be above 0 ms, got {deadline_ms}")
    needed_s = _SPARE * min_queries(0.99) / (cameras * fps)
    duration_s = max(min_duration_s, min(_LONGEST_S, needed_s))
    arrivals_ns, sender = camera_arrivals(cameras, fps, duration_s, jitter_ms=jitter_ms, seed=seed)
    queue = NewestFrames(arrivals_ns, sender)
    served = serve(system, queue, arrivals_ns, batch=batch, workers=workers)
    return CameraRun(
        cameras=cameras,
        fps=fps,
        jitter_ms=jitter_ms,
        deadline_ms=deadline_ms,
        served=served,
        sender=sender,
        latency=Latency(served.latency_ns[served.answered], served.noise),
    )
