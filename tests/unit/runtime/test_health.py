from __future__ import annotations

import pytest

from runtime import health
from runtime.errors import EngineError
from runtime.health import Health, Vitals


class Clock:
    def __init__(self) -> None:
        self.now_ns = 10**12

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(health, "monotonic_ns", clock)
    return clock


def judge(vitals: Vitals, *, closed: bool = False, full: bool = False) -> Health:
    return vitals.judge(closed=closed, full=full)


def test_new_is_ready() -> None:
    assert judge(Vitals()) == Health("ready")
    assert judge(Vitals()).ready


def test_three_failures_in_a_row_are_a_failure() -> None:
    vitals = Vitals()
    for error in (EngineError("a"), EngineError("b"), None, EngineError("c"), EngineError("d")):
        vitals.judge_call(error)
        assert judge(vitals).ready
    vitals.judge_call(EngineError("e"))
    assert judge(vitals) == Health("failed", "3 engine calls in a row failed: e")
    vitals.judge_call(None)
    assert judge(vitals).ready


def test_a_call_that_does_not_end(clock: Clock) -> None:
    vitals = Vitals()
    vitals.begin()
    clock.now_ns += 10 * 10**9
    assert judge(vitals).ready
    clock.now_ns += 2 * 10**9
    assert judge(vitals) == Health("failed", "an engine call has been running for 12 s")
    vitals.end()
    assert judge(vitals).ready


def test_a_lost_request_is_overload_for_a_while(clock: Clock) -> None:
    vitals = Vitals()
    vitals.lost("expired")
    clock.now_ns += 2 * 10**9
    assert judge(vitals) == Health("overloaded", "a request was expired 2.0 s ago")
    clock.now_ns += 3 * 10**9
    assert judge(vitals).ready


def test_what_counts_most() -> None:
    vitals = Vitals()
    assert judge(vitals, full=True) == Health("overloaded", "the queue is full")
    for _ in range(3):
        vitals.judge_call(EngineError("x"))
    assert judge(vitals, full=True).state == "failed"
    assert judge(vitals, closed=True, full=True) == Health("failed", "the reader was closed")
