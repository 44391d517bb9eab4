from __future__ import annotations

import pytest

from runtime.gateway.cameras import STATES, status
from runtime.gateway.cameras.status import Tally

SECOND = 1_000_000_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    now = [100 * SECOND]
    monkeypatch.setattr(status, "monotonic_ns", lambda: now[0])
    return now


def tally(quiet_s: float = 2.5) -> Tally:
    return Tally("gate", "rtsp://***@cam", quiet_s=quiet_s)


def test_it_begins_with_nothing(clock: list[int]) -> None:
    read = tally().read()
    assert (read.name, read.url, read.state) == ("gate", "rtsp://***@cam", "connecting")
    assert (read.frames, read.fps, read.age_s, read.width) == (0, 0.0, None, 0)
    assert read.state in STATES


def test_rate_age_and_size(clock: list[int]) -> None:
    counts = tally()
    for number in range(100):
        assert counts.arrive(clock[0], (1280, 720)) == number
        clock[0] += SECOND // 10
    read = counts.read()
    assert read.fps == pytest.approx(10, abs=0.3)
    assert read.age_s == pytest.approx(0.1)
    assert (read.width, read.height) == (1280, 720)
    clock[0] += 2 * SECOND
    assert counts.read().fps == pytest.approx(6, abs=0.3)
    clock[0] += 10 * SECOND
    assert counts.read().fps == 0


def test_skipped_is_what_was_neither_taken_nor_waits() -> None:
    counts = tally()
    for number in range(10):
        counts.arrive(number, (8, 6))
    counts.add("taken", 4)
    assert counts.read().skipped == 6
    counts.offered(1)
    assert counts.read().skipped == 5


def test_silence_shows_although_the_thread_is_in_a_call(clock: list[int]) -> None:
    counts = tally()
    counts.arrive(clock[0], (8, 6))
    counts.enter("running")
    clock[0] += 2 * SECOND
    assert counts.read().state == "running"
    clock[0] += SECOND
    read = counts.read()
    assert (read.state, read.reason) == ("stalled", "no usable picture for 3.0 s")
    counts.arrive(clock[0], (8, 6))
    assert counts.read().state == "running"


def test_files_never_stall(clock: list[int]) -> None:
    counts = tally(quiet_s=0)
    counts.arrive(clock[0], (8, 6))
    counts.enter("running")
    clock[0] += 3600 * SECOND
    assert counts.read().state == "running"


def test_changes_of_state() -> None:
    counts = tally()
    assert counts.enter("retrying", "refused")
    assert not counts.enter("retrying", "refused")
    assert counts.enter("retrying", "no answer")
    assert not counts.over
    assert counts.enter("stopped")
    assert counts.over
    # A thread that was left behind cannot bring it back.
    assert not counts.enter("running")
    assert counts.read().state == "stopped"
