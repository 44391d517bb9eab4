from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from concurrent.futures import wait
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runtime import queue as queues
from runtime.errors import (
    ClosedError,
    ConfigError,
    DeadlineError,
    HeadlightError,
    OverloadError,
)
from runtime.queue import ON_FULL, QueueOptions, Request, RequestQueue

IMAGE = np.zeros((16, 32, 3), np.uint8)
MS = 1_000_000


class Clock:
    """Stands still until told."""

    def __init__(self) -> None:
        self.now_ns = 1_000 * MS

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(queues, "monotonic_ns", clock)
    return clock


class Ends:
    """Collects what the queue ended."""

    def __init__(self) -> None:
        self.ended: list[tuple[object, type[HeadlightError]]] = []

    def __call__(self, request: Request, error: HeadlightError) -> None:
        self.ended.append((request.tag, type(error)))


def tags(requests: Sequence[Request]) -> list[object]:
    return [request.tag for request in requests]


def make(on_full: str, *, capacity: int = 2, batch: int = 4, **more: Any) -> Any:
    ends = Ends()
    options = QueueOptions(capacity=capacity, on_full=on_full, **more)
    return RequestQueue(options, batch=batch, shed=ends), ends


def test_first_in_first_out_at_most_a_batch() -> None:
    queue, ends = make("block", capacity=9)
    for tag in range(6):
        assert queue.put(Request(IMAGE, tag=tag))
    assert (len(queue), queue.deepest) == (6, 6)
    assert tags(queue.take()) == [0, 1, 2, 3]
    assert tags(queue.take()) == [4, 5]
    assert ends.ended == []


def test_drop_oldest() -> None:
    queue, ends = make("drop_oldest")
    for tag in range(5):
        assert queue.put(Request(IMAGE, tag=tag))
    assert ends.ended == [(0, OverloadError), (1, OverloadError), (2, OverloadError)]
    assert tags(queue.take()) == [3, 4]


def test_drop_newest() -> None:
    queue, ends = make("drop_newest")
    for tag in range(4):
        assert queue.put(Request(IMAGE, tag=tag))
    assert ends.ended == [(2, OverloadError), (3, OverloadError)]
    assert tags(queue.take()) == [0, 1]


def test_block_waits_for_room() -> None:
    queue, ends = make("block", capacity=1, batch=1)
    queue.put(Request(IMAGE, tag=0))
    request = Request(IMAGE, tag=1)
    assert not queue.put(request, wait=False)
    waiter = threading.Thread(target=queue.put, args=(request,))
    waiter.start()
    waiter.join(0.02)
    assert waiter.is_alive()
    assert tags(queue.take()) == [0]
    waiter.join(5)
    assert tags(queue.take()) == [1]
    assert ends.ended == []


def test_block_waits_no_longer_than_the_deadline() -> None:
    queue, ends = make("block", capacity=1)
    queue.put(Request(IMAGE, tag=0))
    assert queue.put(Request(IMAGE, tag=1, deadline_ms=5))
    assert ends.ended == [(1, DeadlineError)]
    assert len(queue) == 1


def test_closing_ends_who_waits_for_room() -> None:
    queue, ends = make("block", capacity=1)
    queue.put(Request(IMAGE, tag=0))
    waiter = threading.Thread(target=queue.put, args=(Request(IMAGE, tag=1),))
    waiter.start()
    waiter.join(0.02)
    queue.close()
    waiter.join(5)
    assert ends.ended == [(1, ClosedError)]
    assert queue.put(Request(IMAGE, tag=2))
    assert ends.ended == [(1, ClosedError), (2, ClosedError)]
    assert tags(queue.take()) == [0]
    assert queue.take() == []


def test_what_is_abandoned_is_told() -> None:
    queue, ends = make("block")
    queue.put(Request(IMAGE, tag=0))
    queue.close()
    queue.abandon()
    assert ends.ended == [(0, ClosedError)]
    assert queue.take() == []


@pytest.mark.parametrize("on_full", ON_FULL)
def test_the_expired_and_the_cancelled_keep_nobody_out(on_full: str, clock: Clock) -> None:
    queue, ends = make(on_full, capacity=3)
    queue.put(Request(IMAGE, tag="late", deadline_ms=1))
    given_up = Request(IMAGE, tag="given up")
    queue.put(given_up)
    queue.put(Request(IMAGE, tag="stays"))
    given_up.future.cancel()
    clock.now_ns += 2 * MS
    assert queue.put(Request(IMAGE, tag="new"), wait=False)
    assert ends.ended == [("late", DeadlineError), ("given up", DeadlineError)]
    assert tags(queue.take()) == ["stays", "new"]


def test_the_expired_are_never_taken(clock: Clock) -> None:
    queue, ends = make("block", capacity=9)
    queue.put(Request(IMAGE, tag=0, deadline_ms=10))
    queue.put(Request(IMAGE, tag=1))
    clock.now_ns += 10 * MS
    assert tags(queue.take()) == [1]
    assert ends.ended == [(0, DeadlineError)]


def test_who_would_be_late_is_not_taken(clock: Clock) -> None:
    queue, ends = make("block", capacity=9)
    queue.served(30 * MS)
    queue.served(10 * MS)  # the fastest counts: nobody who might be in time is refused
    queue.put(Request(IMAGE, tag="late", deadline_ms=19))
    queue.put(Request(IMAGE, tag="in time", deadline_ms=21))
    queue.put(Request(IMAGE, tag="any time"))
    clock.now_ns += 10 * MS
    assert tags(queue.take()) == ["in time", "any time"]
    assert ends.ended == [("late", DeadlineError)]


def test_an_engine_that_was_slow_gets_another_try(clock: Clock) -> None:
    queue, ends = make("drop_newest", capacity=1)
    queue.served(1_000 * MS)
    for tag in range(50):
        queue.put(Request(IMAGE, tag=tag, deadline_ms=50))
    ((stayed,), given_up) = (
        tags(queue.take()),
        [tag for tag, kind in ends.ended if kind is DeadlineError],
    )
    assert given_up == list(range(23))  # 1000 ms * (7 / 8) ** 23 < 50 ms
    assert stayed == 23


def test_requests_wait_for_company_but_not_too_long(clock: Clock) -> None:
    queue, _ = make("block", capacity=9, batch=3, max_wait_ms=50)
    taken: list[list[object]] = []
    lane = threading.Thread(target=lambda: taken.append(tags(queue.take())))
    lane.start()
    for tag in range(3):
        lane.join(0.005)
        assert not taken
        queue.put(Request(IMAGE, tag=tag, max_wait_ms=50))
    lane.join(5)
    assert taken == [[0, 1, 2]]
    queue.put(Request(IMAGE, tag=3, max_wait_ms=50))
    clock.now_ns += 50 * MS
    assert tags(queue.take()) == [3]


def test_the_wait_for_company_leaves_half_of_the_time() -> None:
    patient = Request(IMAGE, max_wait_ms=40)
    assert patient.send_ns - patient.submitted_ns == 40 * MS
    hurried = Request(IMAGE, max_wait_ms=40, deadline_ms=10)
    assert hurried.send_ns - hurried.submitted_ns == 5 * MS


def test_a_hurried_request_takes_the_patient_with_it(clock: Clock) -> None:
    queue, _ = make("block", capacity=9, batch=3, max_wait_ms=50)
    queue.put(Request(IMAGE, tag="patient", max_wait_ms=50))
    queue.put(Request(IMAGE, tag="hurried", max_wait_ms=50, deadline_ms=4))
    clock.now_ns += 2 * MS
    assert tags(queue.take()) == ["patient", "hurried"]


@pytest.mark.parametrize(
    "options",
    [
        {"capacity": 0},
        {"on_full": "drop"},
        {"lanes": 0},
        {"lanes": 65},
        {"max_wait_ms": -1},
        {"max_wait_ms": math.nan},
        {"max_wait_ms": math.inf},
        {"deadline_ms": 0},
        {"deadline_ms": math.nan},
        {"deadline_ms": math.inf},
    ],
)
def test_options_that_cannot_work(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        QueueOptions(**options)


class QueueMachine(RuleBasedStateMachine):
    """Any order of events: each request ends once, in order, and no more wait than may."""

    @initialize(
        capacity=st.integers(1, 4), batch=st.integers(1, 3), on_full=st.sampled_from(ON_FULL)
    )
    def begin(self, capacity: int, batch: int, on_full: str) -> None:
        self.clock = Clock()
        self.saved, queues.monotonic_ns = queues.monotonic_ns, self.clock
        self.outcomes: dict[object, str] = {}
        self.capacity, self.batch = capacity, batch
        options = QueueOptions(capacity=capacity, on_full=on_full)
        self.queue = RequestQueue(options, batch=batch, shed=self.end)
        self.requests: list[Request] = []
        self.last_taken = -1
        self.refused = 0
        self.closed = False

    def end(self, request: Request, error: HeadlightError) -> None:
        self.settle(request, type(error).__name__)

    def settle(self, request: Request, how: str) -> None:
        assert request.tag not in self.outcomes
        self.outcomes[request.tag] = how

    @rule(deadline_ms=st.none() | st.integers(1, 5))
    def put(self, deadline_ms: int | None) -> None:
        request = Request(IMAGE, tag=len(self.requests), deadline_ms=deadline_ms)
        if self.queue.put(request, wait=False):
            self.requests.append(request)
        else:
            assert self.queue.full

    @rule()
    def take(self) -> None:
        if not len(self.queue) and not self.closed:
            return
        live = [
            r for r in self.waiting() if not r.expired(self.clock()) and not r.future.cancelled()
        ]
        if not live and not self.closed:
            return  # a lane would sleep
        taken = self.queue.take()
        assert taken == live[: self.batch]
        for request in taken:
            assert isinstance(request.tag, int)
            assert request.tag > self.last_taken
            self.last_taken = request.tag
            self.settle(request, "taken")

    def waiting(self) -> list[Request]:
        return [request for request in self.requests if request.tag not in self.outcomes]

    @rule(step_ms=st.integers(1, 3))
    def pass_time(self, step_ms: int) -> None:
        self.clock.now_ns += step_ms * MS

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.requests)).future.cancel()

    @rule()
    def close(self) -> None:
        self.queue.close()
        self.closed = True

    @invariant()
    def bounded(self) -> None:
        assert len(self.queue) == len(self.waiting()) <= self.capacity

    def teardown(self) -> None:
        self.queue.close()
        self.queue.abandon()
        assert not self.waiting()
        queues.monotonic_ns = self.saved


TestQueueMachine = QueueMachine.TestCase


@given(st.sampled_from(ON_FULL), st.integers(1, 3), st.integers(1, 3))
def test_threads_lose_nothing(on_full: str, capacity: int, lanes: int) -> None:
    """Each submitter's requests are taken in its order, and every one ends exactly once."""
    ends = Ends()
    queue = RequestQueue(QueueOptions(capacity=capacity, on_full=on_full), batch=2, shed=ends)
    taken: list[object] = []

    def submit(name: str) -> None:
        for number in range(8):
            queue.put(Request(IMAGE, tag=(name, number)))

    def lane() -> None:
        while batch := queue.take():
            taken.extend(tags(batch))

    workers = [threading.Thread(target=lane) for _ in range(lanes)]
    submitters = [threading.Thread(target=submit, args=(name,)) for name in "abc"]
    for thread in (*workers, *submitters):
        thread.start()
    for thread in submitters:
        thread.join(10)
    queue.close()
    for thread in workers:
        thread.join(10)
    dropped = [tag for tag, _ in ends.ended]
    assert sorted([*taken, *dropped]) == [(name, n) for name in "abc" for n in range(8)]  # type: ignore[type-var]
    if lanes == 1:
        for name in "abc":
            mine = [tag for tag in taken if tag[0] == name]  # type: ignore[index]
            assert mine == sorted(mine)  # type: ignore[type-var]
    assert queue.deepest <= capacity
    assert on_full != "block" or not dropped


def test_futures_are_untouched_until_somebody_ends_them() -> None:
    request = Request(IMAGE)
    assert not wait([request.future], timeout=0).done
