from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.scenarios.open_loop import NEVER, Fifo, NewestFrames, serve
from runtime.errors import EngineError

from .fakes import Clock, Fixed


def ms(*times: float) -> np.ndarray:
    return (np.array(times) * 1e6).astype(np.int64)


def test_a_queue_by_hand(clock: Clock) -> None:
    # 10 ms a call: the second waits 6 ms for the first, the third 12 ms, the last for nobody.
    arrivals = ms(0, 4, 8, 50)
    found = serve(Fixed(clock, call_s=0.010), Fifo(arrivals), arrivals)
    assert found.latency_ns.tolist() == ms(10, 16, 22, 10).tolist()
    assert found.queue_ns.tolist() == ms(0, 6, 12, 0).tolist()
    assert found.sizes == [1, 1, 1, 1]


def test_a_stall_makes_all_that_wait_late(clock: Clock) -> None:
    """30 frames a second, 4 ms each; one stall of 600 ms. A loop that waits for its own answers
    would call one query of 300 slow; 18 were."""

    class Stalling(Fixed):
        def answer(self, samples: Sequence[int]) -> list[int]:
            if len(self.calls) == 100:
                clock.spend(0.6)
            return super().answer(samples)

    arrivals = ms(*(np.arange(300) * 1000 / 30))
    found = serve(Stalling(clock, call_s=0.004), Fifo(arrivals), arrivals)
    late = found.latency_ns > 50e6
    # Latency shrinks by 33.3 - 4 ms from one to the next: (604 - 50) / 29.33 = 18.9.
    assert late.sum() == 19
    assert found.latency_ns.max() == 604e6


def test_a_free_worker_takes_what_waits_at_once(clock: Clock) -> None:
    arrivals = ms(0, 1, 2, 3, 4, 100)
    found = serve(Fixed(clock, call_s=0.010), Fifo(arrivals), arrivals, batch=3)
    assert found.sizes == [1, 3, 1, 1]
    assert found.latency_ns.tolist() == ms(10, 19, 18, 17, 26, 10).tolist()


def test_patience_ends_a_hopeless_run(clock: Clock) -> None:
    arrivals = ms(*range(100))
    found = serve(Fixed(clock, call_s=0.010), Fifo(arrivals), arrivals, patience_s=0.02)
    assert 10 <= found.answered.sum() <= 13
    assert (found.done_ns[~found.answered] == NEVER).all()
    # Those that were never answered count with what they waited.
    assert (found.latency_ns[~found.answered] >= 20e6).all()


def test_only_the_newest_frame_of_a_camera_waits(clock: Clock) -> None:
    # Camera 0 sends at 0, 10, 20, 30 ms and camera 1 at 5 ms; a call takes 25 ms.
    arrivals, sender = ms(0, 5, 10, 20, 30), np.array([0, 1, 0, 0, 0])
    found = serve(Fixed(clock, call_s=0.025), NewestFrames(arrivals, sender), arrivals)
    # At 25 ms camera 1 has waited longest; at 50 ms camera 0 has only its last frame left.
    assert found.answered.tolist() == [True, True, False, False, True]
    assert found.latency_ns[found.answered].tolist() == ms(25, 45, 45).tolist()


def test_frames_of_all_cameras_go_in_one_call(clock: Clock) -> None:
    arrivals, sender = ms(0, 1, 2, 3, 4), np.array([0, 1, 2, 3, 0])
    found = serve(Fixed(clock, call_s=0.010), NewestFrames(arrivals, sender), arrivals, batch=4)
    assert found.sizes == [1, 4]
    assert found.answered.all()


def test_a_wrong_answer_voids_the_run(clock: Clock) -> None:
    arrivals = ms(*range(20))
    with pytest.raises(EngineError, match="void"):
        serve(Fixed(clock, call_s=0.001, wrong_at=7), Fifo(arrivals), arrivals)


class Sleeping:
    """Really takes 20 ms a call, and errs from a call on."""

    crops = 3

    def __init__(self, wrong_at: int = 10**9) -> None:
        self.calls = 0
        self.threads: set[int] = set()
        self._wrong_at = wrong_at

    def answer(self, samples: Sequence[int]) -> int:
        self.threads.add(threading.get_ident())
        time.sleep(0.02)
        self.calls += 1
        return self.calls

    def check(self, samples: Sequence[int], answers: int) -> None:
        if answers >= self._wrong_at:
            raise EngineError("wrong; the run is void")


def test_workers_serve_at_the_same_time() -> None:
    arrivals = ms(*(5 * np.arange(12)))
    alone, four = Sleeping(), Sleeping()
    slow = serve(alone, Fifo(arrivals), arrivals)
    fast = serve(four, Fifo(arrivals), arrivals, workers=4)
    assert len(alone.threads) == 1
    assert len(four.threads) == 4
    # One needs 240 ms for what arrives within 60; four need little more than 60 + 20.
    assert slow.end_ns >= 240e6
    assert fast.end_ns < 0.7 * slow.end_ns
    assert slow.answered.all()
    assert fast.answered.all()
    assert (fast.done_ns - fast.started_ns >= 20e6).all()


def test_one_workers_error_stops_all() -> None:
    arrivals = ms(*range(1000))
    system = Sleeping(wrong_at=5)
    with pytest.raises(EngineError, match="void"):
        serve(system, Fifo(arrivals), arrivals, workers=3)
    assert system.calls < 12
