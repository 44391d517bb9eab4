"""When queries arrive, all drawn before a run from a seed: the load never waits for the system."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["camera_arrivals", "poisson_arrivals"]


def poisson_arrivals(rate: float, count: int, *, seed: int) -> npt.NDArray[np.int64]:
    """Return ``count`` ascending times of a Poisson process, ns from the start of the run.

    Args:
        rate: Queries per second.
        count: Number of queries.
        seed: Of the gaps, which are exponential with mean 1 / ``rate``.
    """
    gaps = np.random.default_rng(seed).exponential(1e9 / rate, count)
    times: npt.NDArray[np.int64] = np.cumsum(gaps).astype(np.int64)
    return times


def camera_arrivals(
    cameras: int, fps: float, duration_s: float, *, jitter_ms: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return when frames arrive, ns from the start of the run, and from which camera, both (F,).

    Cameras are not synchronised: each starts at a random moment of the first interval. A frame is
    delayed by its camera's rate and a random part of ``jitter_ms``, and never overtakes another of
    its camera.

    Args:
        cameras: Number of cameras.
        fps: Frames per second of each.
        duration_s: Length of the run; every camera sends ``fps * duration_s`` frames, at least 1.
        jitter_ms: Largest delay, uniform from 0.
        seed: Of starts and delays.
    """
    random = np.random.default_rng(seed)
    frames = max(1, round(fps * duration_s))
    starts = random.uniform(0, 1, (cameras, 1))
    seconds = (starts + np.arange(frames)) / fps
    seconds += random.uniform(0, jitter_ms / 1e3, (cameras, frames))
    times = np.sort(seconds, axis=1).ravel()
    order = np.argsort(times, kind="stable")
    sender = np.repeat(np.arange(cameras), frames)
    return (times[order] * 1e9).astype(np.int64), sender[order]
