from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import ConfigError, DeliveryError, RejectedError
from runtime.gateway.events.event import camera_event
from runtime.gateway.events.outbox import OutboxOptions
from runtime.gateway.events.publisher import Publisher, _retry_s
from tests.painted import BEGIN


class Fake:
    """A sink that takes what ``judge`` lets pass."""

    def __init__(self, name: str, judge: Callable[[str], None] = lambda text: None) -> None:
        self.name, self.judge = name, judge
        self.got: list[str] = []
        self.tries = 0
        self.closed = 0
        self.interrupted = threading.Event()

    def deliver(self, event_id: str, payload: bytes) -> None:
        self.tries += 1
        text = json.loads(payload)["reason"]
        self.judge(text)
        self.got.append(text)

    def interrupt(self) -> None:
        self.interrupted.set()

    def close(self) -> None:
        self.closed += 1


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.fixture
def send() -> Callable[..., None]:
    def give(publisher: Publisher, *texts: str) -> None:
        for text in texts:
            publisher.publish(camera_event(text, "running", text, BEGIN))

    return give


def made(folder: Path, *sinks: Fake, **options: Any) -> Publisher:
    path = str(folder / "events.sqlite")
    return Publisher(OutboxOptions(path=path, **options), sinks, retry_max_s=0.02)


def test_every_sink_gets_every_event_in_order(tmp_path: Path, send: Any) -> None:
    one, two = Fake("one"), Fake("two")
    texts = [str(number) for number in range(80)]
    with made(tmp_path, one, two) as publisher:
        send(publisher, *texts)
        until(lambda: len(one.got) == len(two.got) == 80)
        statuses = publisher.status()
    assert one.got == two.got == texts
    assert [(s.name, s.waiting, s.delivered) for s in statuses] == [("one", 0, 80), ("two", 0, 80)]
    assert (one.closed, two.closed) == (1, 1)
    assert one.interrupted.is_set()


def test_one_that_fails_holds_up_nobody_else_and_loses_nothing(
    tmp_path: Path, send: Any, caplog: pytest.LogCaptureFixture
) -> None:
    down = threading.Event()
    down.set()

    def judge(text: str) -> None:
        if down.is_set():
            raise DeliveryError("nobody is there")

    bad, good = Fake("bad", judge), Fake("good")
    with caplog.at_level(logging.DEBUG, "headlight"), made(tmp_path, bad, good) as publisher:
        send(publisher, "a", "b", "c")
        until(lambda: len(good.got) == 3 and bad.tries > 3)
        status = publisher.status()[0]
        assert (status.waiting, status.delivered) == (3, 0)
        assert status.failing_since is not None
        assert status.last_error == "nobody is there"
        down.clear()
        until(lambda: len(bad.got) == 3)
        until(lambda: publisher.status()[0].failing_since is None)
    assert bad.got == ["a", "b", "c"]
    # Once when it began, once when it was over: not for every try.
    assert [r.getMessage() for r in caplog.records if "bad" in r.getMessage()] == [
        "sink bad takes no events: nobody is there",
        "sink bad takes events again",
    ]


def test_what_is_refused_for_good_is_passed_over(tmp_path: Path, send: Any) -> None:
    def judge(text: str) -> None:
        if text == "b":
            raise RejectedError("status 422")

    sink = Fake("hook", judge)
    with made(tmp_path, sink) as publisher:
        send(publisher, "a", "b", "c")
        until(lambda: len(sink.got) == 2)
        until(lambda: publisher.status()[0].waiting == 0)
        status = publisher.status()[0]
    assert sink.got == ["a", "c"]
    assert (status.rejected, status.delivered, sink.tries) == (1, 2, 3)
    assert status.last_error == "status 422"


def test_a_sink_with_a_bug_is_tried_again_and_its_words_stay_private(
    tmp_path: Path, send: Any, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[str] = []

    def judge(text: str) -> None:
        tries.append(text)
        if len(tries) < 3:
            raise KeyError("password hunter2")

    sink = Fake("hook", judge)
    with caplog.at_level(logging.DEBUG, "headlight"), made(tmp_path, sink) as publisher:
        send(publisher, "a")
        until(lambda: sink.got == ["a"])
        status = publisher.status()[0]
    assert status.last_error == "unexpected KeyError"
    assert "hunter2" not in caplog.text


def test_the_next_gateway_goes_on_where_the_last_one_stopped(tmp_path: Path, send: Any) -> None:
    def judge(text: str) -> None:
        if text == "c":
            raise DeliveryError("down")

    first = Fake("hook", judge)
    publisher = made(tmp_path, first)
    publisher.start()
    send(publisher, *"abcd")
    until(lambda: first.tries >= 4)
    publisher.close(drain_s=0)
    second = Fake("hook")
    with made(tmp_path, second) as publisher:
        until(lambda: len(second.got) == 2)
    assert (first.got, second.got) == (["a", "b"], ["c", "d"])


def test_closing_waits_for_sinks_that_work(tmp_path: Path, send: Any) -> None:
    sink = Fake("slow", lambda text: time.sleep(0.02))
    publisher = made(tmp_path, sink)
    publisher.start()
    send(publisher, *"abcdefgh")
    publisher.close(drain_s=5)
    assert sink.got == [*"abcdefgh"]


def test_a_sink_that_hangs_does_not_hold_up_the_end(tmp_path: Path, send: Any) -> None:
    sink = Fake("stuck", lambda text: None)

    def hang(text: str) -> None:
        sink.interrupted.wait(30)
        raise DeliveryError("interrupted")

    sink.judge = hang
    publisher = made(tmp_path, sink)
    publisher.start()
    send(publisher, "a")
    until(lambda: sink.tries == 1)
    began = time.monotonic()
    publisher.close(drain_s=0.05)
    assert time.monotonic() - began < 2  # what it drains by default
    assert sink.closed == 1


def test_sinks_are_closed_although_nothing_began(tmp_path: Path) -> None:
    sink = Fake("x")
    made(tmp_path, sink).close()
    assert sink.closed == 1


def test_without_sinks_nothing_is_kept(tmp_path: Path, send: Any) -> None:
    with made(tmp_path) as publisher:
        send(publisher, "a")
        assert (publisher.status(), publisher.reason) == ([], None)
    assert list(tmp_path.iterdir()) == []


def test_names_must_differ(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names"):
        made(tmp_path, Fake("x"), Fake("x"))


def test_waits_grow_up_to_the_longest_and_vary() -> None:
    first = [_retry_s(1, 30) for _ in range(200)]
    assert 0.05 <= min(first) < 0.1
    assert 0.4 < max(first) <= 0.5
    late = [_retry_s(1000, 30) for _ in range(200)]
    assert 3 <= min(late) < max(late) <= 30
    assert len(set(late)) > 100
