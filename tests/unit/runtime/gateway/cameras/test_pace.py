from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.gateway.cameras import pace
from runtime.gateway.cameras.pace import Backoff, Playback, RateLimit


@given(
    st.floats(0.5, 30),
    st.lists(st.floats(0, 0.5), min_size=1, max_size=100),
)
def test_never_more_than_the_rate(fps: float, pauses: list[float]) -> None:
    limit, now_s, admitted = RateLimit(fps), 100.0, []
    for pause in pauses:
        now_s += pause
        if limit.admit(now_s):
            admitted.append(now_s)
    for first in range(len(admitted)):
        for last in range(first, len(admitted)):
            span = admitted[last] - admitted[first]
            # The first may be an interval late and the last half of one early.
            assert last - first <= span * fps + 1.501


@pytest.mark.parametrize(("camera", "fps", "wanted"), [(25, 10, 100), (30, 15, 150), (15, 15, 150)])
def test_evenly_as_many_as_asked_for(camera: int, fps: float, wanted: int) -> None:
    jitter = [0.0, 0.004, -0.004, 0.002]
    limit = RateLimit(fps)
    times = [n / camera + jitter[n % 4] for n in range(10 * camera)]
    assert sum(limit.admit(time) for time in times) == pytest.approx(wanted, abs=1)


def test_no_limit() -> None:
    limit = RateLimit(0)
    assert all(limit.admit(1.0) for _ in range(5))


def test_a_clock_that_jumps_back_stops_nothing() -> None:
    limit = RateLimit(1)
    assert limit.admit(1000.0)
    assert limit.admit(0.0)


@given(st.floats(0.01, 10), st.floats(1, 100))
def test_waits_double_up_to_the_longest(first_s: float, times: float) -> None:
    backoff = Backoff(first_s, first_s * times)
    for attempt in range(12):
        full_s = min(first_s * 2**attempt, first_s * times)
        assert full_s / 2 <= backoff.wait_s() <= full_s
    backoff.reset()
    assert backoff.wait_s() <= first_s


def test_waits_differ() -> None:
    assert len({Backoff(1, 1).wait_s() for _ in range(10)}) > 1


def test_files_play_at_their_own_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [50.0]
    monkeypatch.setattr(pace, "monotonic", lambda: now[0])
    playback = Playback()
    assert playback.delay_s(7.0) == 0
    assert playback.delay_s(7.5) == pytest.approx(0.5)
    now[0] = 51.0  # late: no wait, and no catching up by skipping
    assert playback.delay_s(7.75) == 0
    assert playback.delay_s(8.5) == pytest.approx(0.5)
    assert playback.delay_s(None) == 0
    # A time stamp that makes no sense begins anew.
    assert playback.delay_s(9_000.0) == 0
    assert playback.delay_s(9_000.25) == pytest.approx(0.25)
    assert playback.delay_s(1.0) == 0
