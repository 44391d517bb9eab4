"""Submitted images, from the reader's side."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any

import numpy as np
import pytest

from runtime import (
    ClosedError,
    ConfigError,
    DeadlineError,
    EngineError,
    HeadlightError,
    ImageError,
    OverloadError,
    QueueOptions,
    Reader,
    Result,
)
from runtime.arrays import Image, Images, Logits
from tests.artifacts import TinyNetwork, random_images
from tests.sessions import FakeSession, fake_reader

WAIT_S = 10


@pytest.fixture
def session(network: TinyNetwork) -> FakeSession:
    return FakeSession(network.logits)


@pytest.fixture
def open_reader(session: FakeSession) -> Iterator[Callable[..., Reader]]:
    """Open readers that are closed, whatever the test leaves running."""
    opened: list[Reader] = []

    def open_one(*, max_batch: int = 4, **queue: Any) -> Reader:
        opened.append(fake_reader(session, max_batch=max_batch, queue=QueueOptions(**queue)))
        return opened[-1]

    yield open_one
    session.gate.set()
    for reader in opened:
        reader.close()


def crops(count: int) -> list[Image]:
    return list(random_images(count, seed=5))


def hold(reader: Reader, session: FakeSession) -> Future[Result]:
    """Have a lane stand in the engine until the gate opens."""
    session.gate.clear()
    future = reader.submit(crops(1)[0], tag="held")
    assert session.entered.acquire(timeout=WAIT_S)
    return future


def test_submitted_images_are_answered_as_read(
    open_reader: Callable[..., Reader], session: FakeSession
) -> None:
    reader = open_reader(lanes=2)
    images = crops(10)
    expected = reader.read_many(images)
    futures = [reader.submit(image, tag=index) for index, image in enumerate(images)]
    for index, (future, other) in enumerate(zip(futures, expected, strict=True)):
        result = future.result(WAIT_S)
        assert isinstance(other, Result)
        assert (result.text, result.accepted) == (other.text, other.accepted)
        assert result.confidence == pytest.approx(other.confidence)
        assert result.tag == index
        assert result.timings_ns.queue > 0
        assert other.timings_ns.queue == 0
    stats = reader.stats()
    assert (stats.images, stats.answered, stats.waiting) == (20, 20, 0)
    assert sum(size * count for size, count in stats.batch_sizes.items()) == 20
    assert stats.latency.count == stats.queue.count + 10 == 20
    assert 0 < stats.latency.p50_ns <= stats.latency.p99_ns <= stats.latency.max_ns


def test_the_callers_memory_is_free_after_submit(
    open_reader: Callable[..., Reader], session: FakeSession
) -> None:
    reader = open_reader()
    image = crops(1)[0]  # already of the network's size, so that nothing would copy it
    expected = reader.read(image)
    hold(reader, session)
    future = reader.submit(image)
    image[:] = 0
    session.gate.set()
    assert future.result(WAIT_S).confidence == pytest.approx(expected.confidence)


def test_waiting_requests_share_an_engine_call(
    open_reader: Callable[..., Reader], session: FakeSession
) -> None:
    reader = open_reader()
    hold(reader, session)
    futures = [reader.submit(image) for image in crops(6)]
    assert reader.stats().waiting == 6
    session.gate.set()
    for future in futures:
        future.result(WAIT_S)
    assert session.batches[-3:] == [1, 4, 2]
    assert reader.stats().deepest == 6


def test_bad_images_are_outcomes(open_reader: Callable[..., Reader]) -> None:
    reader = open_reader()
    bad: Any = np.zeros((5, 5), np.uint8)
    with pytest.raises(ImageError):
        reader.submit(bad).result(WAIT_S)
    with pytest.raises(ImageError):
        asyncio.run(reader.read_async(bad))
    assert reader.stats().bad_images == 2


@pytest.mark.parametrize(("on_full", "lost"), [("drop_oldest", 0), ("drop_newest", 2)])
def test_a_full_queue_drops(
    open_reader: Callable[..., Reader], session: FakeSession, on_full: str, lost: int
) -> None:
    reader = open_reader(capacity=2, on_full=on_full)
    hold(reader, session)
    assert reader.health().ready
    futures = [reader.submit(image) for image in crops(3)]
    with pytest.raises(OverloadError, match="2 requests were waiting"):
        futures[lost].result(0)
    assert reader.health().state == "overloaded"
    session.gate.set()
    assert all(futures[i].result(WAIT_S) for i in range(3) if i != lost)
    assert "dropped" in reader.health().reason
    stats = reader.stats()
    assert (stats.images, stats.answered, stats.dropped) == (4, 3, 1)


def test_no_answer_comes_late(open_reader: Callable[..., Reader], session: FakeSession) -> None:
    reader = open_reader(deadline_ms=30)
    running = hold(reader, session)
    waiting = reader.submit(crops(1)[0], deadline_ms=10)
    threading.Event().wait(0.04)
    session.gate.set()
    for future in (running, waiting):
        with pytest.raises(DeadlineError, match="ms after it was submitted"):
            future.result(WAIT_S)
    assert session.batches == [1]  # the engine never saw the second
    assert reader.submit(crops(1)[0], deadline_ms=5000).result(WAIT_S)
    stats = reader.stats()
    assert (stats.images, stats.answered, stats.expired) == (3, 1, 2)


@pytest.mark.parametrize("deadline_ms", [0, -1, float("nan"), float("inf")])
def test_deadlines_that_cannot_be_kept(
    open_reader: Callable[..., Reader], deadline_ms: float
) -> None:
    reader = open_reader()
    with pytest.raises(ConfigError, match="deadline_ms"):
        reader.submit(crops(1)[0], deadline_ms=deadline_ms)


def test_cancelled_requests_never_reach_the_engine(
    open_reader: Callable[..., Reader], session: FakeSession
) -> None:
    reader = open_reader()
    running = hold(reader, session)
    waiting = reader.submit(crops(1)[0])
    assert waiting.cancel()
    assert not running.cancel()
    session.gate.set()
    running.result(WAIT_S)
    reader.close()
    with pytest.raises(CancelledError):
        waiting.result(0)
    assert session.batches == [1]
    assert reader.stats().cancelled == 1


def test_engine_errors_are_outcomes(
    open_reader: Callable[..., Reader], session: FakeSession, network: TinyNetwork
) -> None:
    reader = open_reader()

    def fail(_: Images) -> Logits:
        raise EngineError("driver reset")

    session.answer = fail
    for _ in range(3):
        assert reader.health().ready
        with pytest.raises(EngineError, match="driver reset"):
            reader.submit(crops(1)[0]).result(WAIT_S)
    health = reader.health()
    assert (health.state, health.reason) == (
        "failed",
        "3 engine calls in a row failed: driver reset",
    )
    session.answer = network.logits
    reader.submit(crops(1)[0]).result(WAIT_S)
    assert reader.health().ready
    assert reader.stats().engine_failures == 3


def test_a_lane_survives_what_no_engine_may_raise(
    open_reader: Callable[..., Reader], session: FakeSession, network: TinyNetwork
) -> None:
    reader = open_reader()

    def fail(_: Images) -> Logits:
        raise ZeroDivisionError("bug")

    session.answer = fail
    with pytest.raises(EngineError, match="ZeroDivisionError: bug"):
        reader.submit(crops(1)[0]).result(WAIT_S)
    session.answer = network.logits
    assert reader.submit(crops(1)[0]).result(WAIT_S)


def test_closing_answers_what_waits(
    open_reader: Callable[..., Reader], session: FakeSession
) -> None:
    reader = open_reader()
    hold(reader, session)
    futures = [reader.submit(image) for image in crops(6)]
    closer = threading.Thread(target=reader.close)
    closer.start()
    closer.join(0.01)
    assert session.closed == 0
    with pytest.raises(ClosedError):
        reader.submit(crops(1)[0])
    session.gate.set()
    closer.join(WAIT_S)
    assert all(future.result(0) for future in futures)
    assert session.closed == 1
    assert reader.health().state == "failed"
    assert not [t for t in threading.enumerate() if t.name.startswith("headlight-lane")]


def test_closing_without_draining_tells_who_waits(
    open_reader: Callable[..., Reader], session: FakeSession
) -> None:
    reader = open_reader()
    running = hold(reader, session)
    waiting = reader.submit(crops(1)[0])
    threading.Timer(0.05, session.gate.set).start()
    reader.close(drain_s=0)
    assert running.result(0)
    with pytest.raises(ClosedError):
        waiting.result(0)
    assert session.closed == 1
    stats = reader.stats()
    assert (stats.images, stats.answered, stats.cancelled) == (2, 1, 1)


def test_closing_leaves_an_engine_that_hangs(
    open_reader: Callable[..., Reader], session: FakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.dispatch._GRACE_S", 0.01)
    reader = open_reader()
    hold(reader, session)
    waiting = reader.submit(crops(1)[0])
    reader.close(drain_s=0.01)
    with pytest.raises(ClosedError):
        waiting.result(0)
    assert session.closed == 0  # freeing what is in use would crash


def test_a_callback_may_submit_and_close(
    open_reader: Callable[..., Reader], session: FakeSession
) -> None:
    reader = open_reader(capacity=1, on_full="drop_oldest")
    seen: list[Future[Result]] = []

    def again(_: Future[Result]) -> None:
        seen.append(reader.submit(crops(1)[0], tag="again"))
        reader.close()

    reader.submit(crops(1)[0]).add_done_callback(again)
    for _ in range(1000):
        if seen and seen[0].done():
            break
        threading.Event().wait(0.005)
    assert isinstance(seen[0].exception(WAIT_S), ClosedError)
    for _ in range(1000):
        if session.closed:
            break
        threading.Event().wait(0.005)
    assert session.closed == 1


def test_a_hanging_call_is_seen(
    open_reader: Callable[..., Reader], session: FakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.health._STUCK_S", 0.02)
    reader = open_reader()
    hold(reader, session)
    threading.Event().wait(0.03)
    health = reader.health()
    assert (health.state, "running" in health.reason) == ("failed", True)
    session.gate.set()


def test_a_full_queue_is_overload(open_reader: Callable[..., Reader], session: FakeSession) -> None:
    reader = open_reader(capacity=1)
    hold(reader, session)
    reader.submit(crops(1)[0])
    health = reader.health()
    assert (health.state, health.reason) == ("overloaded", "the queue is full")


def test_coroutines(open_reader: Callable[..., Reader]) -> None:
    reader = open_reader(capacity=2)  # so small that most have to wait for room
    images = crops(12)
    expected = [reader.read(image).text for image in images]

    async def read_all() -> list[Result]:
        return await asyncio.gather(*(reader.read_async(image, tag=7) for image in images))

    results = asyncio.run(read_all())
    assert [result.text for result in results] == expected
    assert results[0].tag == 7


def test_a_coroutine_is_told_at_its_deadline_even_if_the_engine_hangs(
    open_reader: Callable[..., Reader], session: FakeSession
) -> None:
    reader = open_reader(capacity=1)
    hold(reader, session)

    async def read_two() -> list[Result | BaseException]:
        reads = [reader.read_async(crops(1)[0], deadline_ms=20) for _ in range(2)]
        return await asyncio.wait_for(asyncio.gather(*reads, return_exceptions=True), WAIT_S)

    assert all(isinstance(error, DeadlineError) for error in asyncio.run(read_two()))
    session.gate.set()
    reader.close()
    stats = reader.stats()
    assert (stats.images, stats.answered, stats.expired) == (3, 1, 2)


def test_cancelling_a_coroutine_cancels_the_request(
    open_reader: Callable[..., Reader], session: FakeSession
) -> None:
    reader = open_reader()
    hold(reader, session)

    async def give_up() -> None:
        task = asyncio.ensure_future(reader.read_async(crops(1)[0]))
        await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(give_up())
    session.gate.set()
    reader.close()
    assert (session.batches, reader.stats().cancelled) == ([1], 1)


def test_a_forgotten_reader_ends_its_lanes(session: FakeSession) -> None:
    reader = fake_reader(session)
    reader.submit(crops(1)[0]).result(WAIT_S)
    (lane,) = (t for t in threading.enumerate() if t.name.startswith("headlight-lane"))
    alive = weakref.ref(reader)
    del reader
    gc.collect()
    assert alive() is None
    lane.join(WAIT_S)
    assert not lane.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_refused(open_reader: Callable[..., Reader]) -> None:
    reader = open_reader()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            reader.read(crops(1)[0])
        except HeadlightError as error:
            code = 0 if "fork" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_results_carry_scores_if_asked(session: FakeSession, network: TinyNetwork) -> None:
    images = crops(3)
    expected = network.logits(np.stack(images))
    with fake_reader(session, keep_scores=True) as reader:
        submitted = [reader.submit(image) for image in images]
        results = [*reader.read_many(images), *(f.result(WAIT_S) for f in submitted)]
    for row, result in enumerate(results):
        assert isinstance(result, Result)
        assert result.scores is not None
        for name, scores in result.scores.items():
            np.testing.assert_allclose(scores, expected[name][row % 3], rtol=1e-5)
            assert scores.base is None
    with fake_reader(FakeSession(network.logits)) as reader:
        assert reader.read(images[0]).scores is None


def test_many_threads_mixed(open_reader: Callable[..., Reader], network: TinyNetwork) -> None:
    """Everything at once for a moment: each request ends once, and the sums are right."""
    reader = open_reader(capacity=4, on_full="drop_oldest", lanes=3, max_wait_ms=0.5)
    images = crops(8)
    expected = [reader.read(image).text for image in images]
    wrong: list[object] = []
    ended: list[str] = []

    def submit(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(60):
            index = int(random.integers(len(images)))
            deadline_ms = [None, 0.2, 50.0][int(random.integers(3))]
            future = reader.submit(images[index], tag=index, deadline_ms=deadline_ms)
            if random.random() < 0.2:
                future.cancel()
            try:
                result = future.result(WAIT_S)
            except (OverloadError, CancelledError) as error:
                ended.append(type(error).__name__)
            else:
                ended.append("Result")
                if (result.tag, result.text) != (index, expected[index]):
                    wrong.append(result)

    def read(seed: int) -> None:
        order = np.random.default_rng(seed).integers(len(images), size=60).tolist()
        wrong.extend(i for i in order if reader.read(images[i]).text != expected[i])

    threads = [threading.Thread(target=submit, args=(seed,)) for seed in range(6)]
    threads += [threading.Thread(target=read, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    reader.close()
    assert not wrong
    assert len(ended) == 360
    stats = reader.stats()
    assert stats.images == 8 + 120 + 360
    assert stats.answered == 8 + 120 + ended.count("Result")
    assert stats.cancelled + stats.expired + stats.dropped == 360 - ended.count("Result")
    assert stats.dropped == ended.count("OverloadError")
    assert stats.deepest <= 4
