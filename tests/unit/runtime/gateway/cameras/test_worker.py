from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from runtime.gateway.cameras import Camera, CameraOptions
from runtime.gateway.cameras.pace import Backoff
from runtime.gateway.cameras.source import Arrival, Broken, Recovery
from tests.cameras import await_state, await_status
from tests.unit.runtime.gateway.cameras.scripted import ScriptedPicture, Step, opener_of

LONG_ENOUGH_TO_BE_SEEN = {"retry_first_s": 1.0, "retry_most_s": 1.0}


def options(**more: Any) -> CameraOptions:
    fast = {"retry_first_s": 0.01, "retry_most_s": 0.02, "refused_retry_s": 0.3}
    return CameraOptions(**{"name": "gate", "url": "rtsp://cam/s", **fast, **more})


def flow(count: int = 1 << 30, *, value: int | None = None, **more: Any) -> Iterator[Step]:
    for number in range(count):
        yield lambda: time.sleep(0.002)
        yield Arrival([ScriptedPicture(number if value is None else value, **more)])


def test_it_comes_back_after_a_clean_end_and_an_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "headlight")
    scripts = opener_of(flow(5), [*flow(5), Broken("the cable was cut")], flow())
    with Camera(options(), opener=scripts) as camera:
        status = await_status(camera, lambda status: status.frames >= 20)
        assert (status.state, status.reason, status.reconnects) == ("running", "", 2)
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "gate: running: scripted from rtsp://cam/s",
        "gate: retrying: the camera ended the stream",
        "gate: running: scripted from rtsp://cam/s",
        "gate: retrying: the cable was cut",
        "gate: running: scripted from rtsp://cam/s",
    ]


def test_a_long_absence_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "headlight")
    attempts = []

    def opener(_: CameraOptions) -> Any:
        attempts.append(time.monotonic())
        raise Broken("the connection was refused")

    with Camera(options(), opener=opener) as camera:
        until_s = time.monotonic() + 10
        while len(attempts) < 10 and time.monotonic() < until_s:
            time.sleep(0.01)
        status = camera.status()
    assert len(attempts) >= 10
    assert (status.state, status.reason) == ("retrying", "the connection was refused")
    assert len(caplog.records) == 1


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the cameras of a test are told to wait, in seconds; the clock of a busy machine adds."""
    told: list[float] = []

    def waited(backoff: Backoff) -> float:
        told.append(wait_s(backoff))
        return told[-1]

    wait_s = Backoff.wait_s
    monkeypatch.setattr(Backoff, "wait_s", waited)
    return told


def test_waits_double_between_attempts(waits: list[float]) -> None:
    attempts: list[float] = []

    def opener(_: CameraOptions) -> Any:
        attempts.append(time.monotonic())
        raise Broken("away")

    with Camera(options(retry_first_s=0.05, retry_most_s=0.4), opener=opener) as camera:
        await_state(camera, "retrying")
        time.sleep(1.6)
    for wait, full in zip(waits, [0.05, 0.1, 0.2, 0.4, 0.4], strict=False):
        assert full / 2 <= wait <= full
    spent = [after - before for before, after in pairwise(attempts)]
    assert all(passed >= wait for passed, wait in zip(spent, waits, strict=False))
    assert 3 <= len(spent) <= 8


def test_a_refused_login_is_tried_again_slowly() -> None:
    refused = Broken("the login was refused (401)", Recovery.LATER)
    with Camera(options(), opener=opener_of(refused, flow())) as camera:
        began_s = time.monotonic()
        assert await_state(camera, "retrying").reason == "the login was refused (401)"
        await_state(camera, "running")
        assert time.monotonic() - began_s >= 0.29


def test_what_nothing_can_help_fails() -> None:
    hopeless = Broken("no such file", Recovery.NEVER)
    with Camera(options(url="a.mp4"), opener=opener_of(hopeless)) as camera:
        assert await_state(camera, "failed").reason == "no such file"
        assert camera.take(30) is None
        assert camera.over


def test_an_unexpected_error_is_told_and_survived(caplog: pytest.LogCaptureFixture) -> None:
    with Camera(options(), opener=opener_of(ZeroDivisionError("oh"), flow())) as camera:
        assert camera.take(10) is not None
    assert "unexpected ZeroDivisionError" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("first", [MemoryError("oh"), [*flow(3), MemoryError("oh")]])
def test_without_memory_it_is_tried_again_soon(
    first: MemoryError | list[Step], caplog: pytest.LogCaptureFixture
) -> None:
    scripts = opener_of(first, flow())
    with Camera(options(refused_retry_s=60), opener=scripts) as camera:
        await_status(camera, lambda status: status.frames >= 5)
    assert "gate: retrying: there is not enough memory" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_frozen_picture_is_connected_anew() -> None:
    slow = options(frozen_s=1.0, **LONG_ENOUGH_TO_BE_SEEN)
    with Camera(slow, opener=opener_of(flow(value=7), flow())) as camera:
        status = await_state(camera, "retrying")
        assert status.reason == "the picture has not changed for 1 s"
        await_state(camera, "running")
        assert camera.status().reconnects == 1


def test_data_without_a_usable_picture_are_not_enough() -> None:
    useless = opener_of(flow(corrupt=True), flow())
    with Camera(options(damaged_s=0.3, **LONG_ENOUGH_TO_BE_SEEN), opener=useless) as camera:
        status = await_state(camera, "retrying")
        assert status.reason == "data come, but no usable picture for 0.3 s"
        assert status.corrupt > 0
        assert camera.take(10) is not None


def test_a_stream_without_keyframes_is_shown_in_the_end() -> None:
    with Camera(options(damaged_s=0.3), opener=opener_of(flow(key=False))) as camera:
        status = await_state(camera, "running")
        assert status.withheld > 0
        assert camera.take(10) is not None
        assert camera.status().reconnects == 0


def test_sources_are_closed() -> None:
    opened = []
    scripts = opener_of(flow(3), [Broken("cut")], flow())

    def opener(given: CameraOptions) -> Any:
        opened.append(scripts(given))
        return opened[-1]

    with Camera(options(), opener=opener) as camera:
        await_status(camera, lambda status: status.reconnects == 2)
    assert len(opened) == 3
    assert all(source.closed.is_set() for source in opened)


def test_the_first_wait_comes_again_after_a_good_run(
    waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.gateway.cameras.worker._GOOD_RUN_S", 0.05)
    away = [Broken("away")] * 6
    scripts = opener_of(*away, [*flow(60), Broken("cut")], flow())
    with Camera(options(retry_first_s=0.02, retry_most_s=0.5), opener=scripts) as camera:
        await_status(camera, lambda status: status.frames > 60)
    assert len(waits) == 7
    assert waits[5] >= 0.25
    assert waits[6] <= 0.02
