from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scenarios.arrivals import camera_arrivals, poisson_arrivals


def test_poisson_gaps_are_exponential() -> None:
    times = poisson_arrivals(200.0, 20_000, seed=1)
    gaps_s = np.diff(times) / 1e9
    # Mean and deviation of an exponential are equal; 20,000 gaps know them within 2 %.
    assert gaps_s.mean() == pytest.approx(1 / 200, rel=0.03)
    assert gaps_s.std() == pytest.approx(1 / 200, rel=0.03)
    assert (gaps_s > 3 / 200).mean() == pytest.approx(np.exp(-3), rel=0.1)
    assert (gaps_s >= 0).all()


def test_arrivals_come_from_the_seed_alone() -> None:
    assert (poisson_arrivals(10, 50, seed=3) == poisson_arrivals(10, 50, seed=3)).all()
    assert (poisson_arrivals(10, 50, seed=3) != poisson_arrivals(10, 50, seed=4)).any()
    one, other = (camera_arrivals(3, 10, 2, jitter_ms=4, seed=5) for _ in range(2))
    assert all((a == b).all() for a, b in zip(one, other, strict=True))


@given(st.integers(1, 5), st.floats(1, 60), st.floats(0, 100), st.integers(0, 9))
def test_cameras_keep_their_rate(cameras: int, fps: float, jitter_ms: float, seed: int) -> None:
    times, sender = camera_arrivals(cameras, fps, 3.0, jitter_ms=jitter_ms, seed=seed)
    assert (np.diff(times) >= 0).all()
    for camera in range(cameras):
        own = times[sender == camera] / 1e9
        assert len(own) == round(3 * fps)
        late = own - np.arange(len(own)) / fps
        # All within one jitter of a clock that started in the first interval.
        assert late.max() - late.min() <= jitter_ms / 1e3 + 1e-6
        assert 0 <= late.min() <= 1 / fps + jitter_ms / 1e3
