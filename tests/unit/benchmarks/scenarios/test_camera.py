from __future__ import annotations

import numpy as np
import pytest

from benchmarks.report import to_json
from benchmarks.scenarios import camera
from runtime.errors import ConfigError

from .fakes import Clock, Fixed


def test_a_fast_system_answers_every_frame_in_time(clock: Clock) -> None:
    run = camera(Fixed(clock, call_s=0.001), cameras=4, fps=15, min_duration_s=20)
    assert run.dropped.hits == run.late.hits == 0
    assert run.dropped.total == 4 * 15 * 20
    assert run.deadline_ms == pytest.approx(66.67, abs=0.01)
    assert run.latency.percentile_ms(0.5) == pytest.approx(1.0, abs=0.2)


def test_a_slow_system_drops_frames_but_answers_the_newest(clock: Clock) -> None:
    # 100 frames a second, 50 answers a second: half are dropped, and nobody waits for long.
    system = Fixed(clock, call_s=0.02)
    run = camera(system, cameras=2, fps=50, jitter_ms=0, deadline_ms=25, min_duration_s=20)
    assert run.dropped.value == pytest.approx(0.5, abs=0.02)
    assert run.late.hits > 0
    # A frame waits at most until the other camera's and its own turn: two calls, then its own.
    assert run.latency.queries_ns.max() <= 60e6
    told = run.to_object()
    assert sum(told["by_camera"]["dropped"]) == run.dropped.hits
    assert (np.array(told["by_camera"]["frames"]) == 1000).all()
    assert '"camera"' in to_json(told)


def test_batches_serve_many_cameras(clock: Clock) -> None:
    system = Fixed(clock, call_s=0.02, sample_s=0.0005)
    alone = camera(system, cameras=8, fps=15, min_duration_s=10)
    batched = camera(system, cameras=8, fps=15, min_duration_s=10, batch=8)
    assert alone.dropped.value > 0.3
    assert batched.dropped.value < 0.01


def test_the_cameras_send_until_a_p99_can_be_proven(clock: Clock) -> None:
    run = camera(Fixed(clock, call_s=0.001), cameras=1, fps=25, min_duration_s=0.1)
    assert run.latency.percentile_ms(0.99) is not None
    slow = camera(Fixed(clock, call_s=0.001), cameras=1, fps=1, min_duration_s=0.1)
    assert slow.latency.count == 60  # a minute at most


@pytest.mark.parametrize(
    "wrong", [{"cameras": 0}, {"fps": 0.0}, {"jitter_ms": -1.0}, {"deadline_ms": 0.0}]
)
def test_impossible_cameras_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"must be above 0|needs cameras"):
        camera(Fixed(Clock(), call_s=0.001), **wrong)  # type: ignore[arg-type]
