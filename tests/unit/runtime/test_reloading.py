"""Putting one artifact in the place of another: nothing lost, nothing mixed, or nothing changed."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import (
    ArtifactError,
    ClosedError,
    ConfigError,
    EngineError,
    InputSpec,
    IntegrityError,
    Manifest,
    QueueOptions,
    Reader,
    Result,
    SchemaError,
    SignatureError,
    Thresholds,
)
from runtime.loading import Loaded, check_heads
from runtime.manifest import MANIFEST_FILE
from runtime.preprocess import fit
from runtime.reloading import InUse
from runtime.schema import Format
from runtime.statistics import Counters
from tests.artifacts import SMALL_SCHEMA, TinyNetwork, random_images
from tests.sessions import FakeSession, fake_reader

WAIT_S = 10
WIDE = InputSpec(height=24, width=48)
NEW = TinyNetwork(seed=1)
OTHER_SIZE = TinyNetwork(seed=2, spec=WIDE)
IMAGE = random_images(1, seed=5)[0]


def use(session: FakeSession, **queue: Any) -> InUse:
    """What a reader has inside, on a session that can be held."""
    manifest = fake_reader(session).info
    counters = Counters()

    def load(manifest: Manifest, session: Any) -> Loaded:
        return Loaded(
            manifest,
            session,
            max_batch=4,
            queue=QueueOptions(**queue),
            keep_scores=True,
            counters=counters,
        )

    return InUse(load, manifest, session, counters)


def swap(
    inside: InUse, session: FakeSession, *, drain_s: float = WAIT_S, **changes: Any
) -> threading.Thread:
    """Replace in another thread, and return once the new one is in use."""
    before = inside.loaded
    following = replace(before.manifest, version=before.manifest.version + 1, **changes)
    thread = threading.Thread(
        target=inside.replace, args=(lambda _: (following, session), drain_s), daemon=True
    )
    thread.start()
    until = time.monotonic() + WAIT_S
    while inside.loaded is before and time.monotonic() < until:
        time.sleep(0.001)
    assert inside.loaded is not before
    return thread


@pytest.fixture
def old(network: TinyNetwork) -> Iterator[FakeSession]:
    session = FakeSession(network.logits)
    yield session
    session.gate.set()


def check(result: object, network: TinyNetwork, version: int, image: Any = IMAGE) -> None:
    assert isinstance(result, Result)
    assert result.artifact is not None
    assert result.artifact.version == version
    expected = network.logits(fit(image, network.spec)[None])
    assert result.scores is not None
    for name, scores in expected.items():
        np.testing.assert_allclose(result.scores[name], scores[0], atol=1e-4)


def submit(inside: InUse, image: Any = IMAGE) -> Any:
    request = inside.request(image, None, None)
    assert inside.put(request, image)
    return request.future


# ---- who began with the old one ends with it ----------------------------------------------------


@pytest.mark.parametrize("network_after", [NEW, OTHER_SIZE], ids=["same size", "other size"])
def test_calls_and_requests_end_where_they_began(
    old: FakeSession, network: TinyNetwork, network_after: TinyNetwork
) -> None:
    inside = use(old, lanes=1)
    old.gate.clear()
    answers: list[object] = []
    reading = threading.Thread(target=lambda: answers.extend(inside.answer([IMAGE], fit)))
    reading.start()
    assert old.entered.acquire(timeout=WAIT_S)
    held = submit(inside)
    assert old.entered.acquire(timeout=WAIT_S)
    waiting = [submit(inside) for _ in range(5)]
    swapping = swap(inside, FakeSession(network_after.logits), input=network_after.spec)
    after = [submit(inside) for _ in range(3)]
    for future in after:
        check(future.result(WAIT_S), network_after, 1)
    check(inside.answer([IMAGE], fit)[0], network_after, 1)
    assert not any(future.done() for future in [held, *waiting])
    assert old.closed == 0
    old.gate.set()
    for future in [held, *waiting]:
        check(future.result(WAIT_S), network, 0)
    reading.join(WAIT_S)
    check(answers[0], network, 0)
    swapping.join(WAIT_S)
    assert old.closed == 1
    stats = inside.stats()
    assert (stats.images, stats.answered) == (11, 11)
    assert stats.deepest >= 5
    inside.close(0)


def test_an_engine_is_kept_while_a_call_is_in_it(old: FakeSession, network: TinyNetwork) -> None:
    inside = use(old)
    old.gate.clear()
    answers: list[object] = []
    reading = threading.Thread(target=lambda: answers.extend(inside.answer([IMAGE], fit)))
    reading.start()
    assert old.entered.acquire(timeout=WAIT_S)
    swapping = swap(inside, FakeSession(NEW.logits))
    swapping.join(0.05)
    assert swapping.is_alive()
    assert old.closed == 0
    old.gate.set()
    swapping.join(WAIT_S)
    reading.join(WAIT_S)
    check(answers[0], network, 0)
    assert old.closed == 1
    inside.close(0)


def test_a_swap_between_finding_an_artifact_and_counting_oneself_in(old: FakeSession) -> None:
    inside = use(old)

    class Late(list[None]):
        def append(self, _: None) -> None:
            if inside.loaded.calls is self:
                swap(inside, FakeSession(NEW.logits)).join(WAIT_S)
                assert old.closed == 1  # nobody was counted
            super().append(None)

    inside.loaded.calls = Late()
    check(inside.answer([IMAGE], fit)[0], NEW, 1)
    assert inside.loaded.calls == []
    inside.close(0)


def test_reloads_wait_for_each_other(old: FakeSession) -> None:
    inside = use(old)
    running, most = 0, 0

    def opened(manifest: Manifest) -> tuple[Manifest, FakeSession]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.01)
        running -= 1
        return replace(manifest, version=manifest.version + 1), FakeSession(NEW.logits)

    threads = [threading.Thread(target=inside.replace, args=(opened, WAIT_S)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert most == 1
    check(inside.answer([IMAGE], fit)[0], NEW, 5)
    inside.close(0)


def test_who_waits_for_room_is_sent_on(old: FakeSession, network: TinyNetwork) -> None:
    inside = use(old, capacity=1, on_full="block")
    old.gate.clear()
    held = submit(inside)
    assert old.entered.acquire(timeout=WAIT_S)
    waiting = submit(inside)
    late: list[Any] = []
    blocked = threading.Thread(target=lambda: late.append(submit(inside)))
    blocked.start()
    blocked.join(0.02)
    assert not late
    swapping = swap(inside, FakeSession(OTHER_SIZE.logits), input=WIDE)
    blocked.join(WAIT_S)
    check(late[0].result(WAIT_S), OTHER_SIZE, 1)
    old.gate.set()
    swapping.join(WAIT_S)
    check(held.result(0), network, 0)
    check(waiting.result(0), network, 0)
    inside.close(0)


def test_a_coroutine_that_waits_for_room_is_sent_on(old: FakeSession) -> None:
    from runtime.waiting import wait_for

    inside = use(old, capacity=1, on_full="block")
    old.gate.clear()
    held = submit(inside)
    assert old.entered.acquire(timeout=WAIT_S)
    waiting = submit(inside)

    async def read() -> Result:
        request = inside.request(IMAGE, None, None)
        task = asyncio.create_task(
            wait_for(request, lambda request, wait=True: inside.put(request, IMAGE, wait=wait))
        )
        await asyncio.sleep(0.02)
        swap(inside, FakeSession(OTHER_SIZE.logits), input=WIDE)
        return await task

    check(asyncio.run(asyncio.wait_for(read(), WAIT_S)), OTHER_SIZE, 1)
    old.gate.set()
    assert held.result(WAIT_S).artifact == waiting.result(WAIT_S).artifact
    inside.close(WAIT_S)


def test_a_request_for_a_retired_queue_is_fitted_again(
    old: FakeSession, network: TinyNetwork
) -> None:
    inside = use(old)
    request = inside.request(IMAGE, "tag", None)
    swap(inside, FakeSession(OTHER_SIZE.logits), input=WIDE).join(WAIT_S)
    assert inside.put(request, IMAGE)
    result = request.future.result(WAIT_S)
    check(result, OTHER_SIZE, 1)
    assert result.tag == "tag"
    inside.close(0)


# ---- an old engine that hangs, and other bad ends -----------------------------------------------


def test_an_old_engine_that_hangs_holds_up_nobody(
    old: FakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.dispatch._GRACE_S", 0.01)
    monkeypatch.setattr("runtime.loading._GRACE_S", 0.01)
    inside = use(old)
    old.gate.clear()
    submit(inside)
    assert old.entered.acquire(timeout=WAIT_S)
    waiting = submit(inside)
    swapping = swap(inside, FakeSession(NEW.logits), drain_s=0.05)
    # The next reload does not wait for the old engine either.
    swap(inside, FakeSession(NEW.logits), drain_s=0.05).join(WAIT_S)
    check(submit(inside).result(WAIT_S), NEW, 2)
    swapping.join(WAIT_S)
    with pytest.raises(EngineError, match="replaced"):
        waiting.result(0)
    assert old.closed == 0  # freeing what is in use would crash
    assert inside.health().ready
    inside.close(0)


def test_a_failure_changes_nothing(old: FakeSession, network: TinyNetwork) -> None:
    inside = use(old)

    def refuse(manifest: Manifest) -> tuple[Manifest, FakeSession]:
        raise IntegrityError("changed")

    with pytest.raises(IntegrityError):
        inside.replace(refuse, 1)

    def broken(_: Any) -> Any:
        raise EngineError("no memory")

    session = FakeSession(broken)
    with pytest.raises(EngineError, match="no memory"):
        inside.replace(lambda manifest: (manifest, session), 1)
    assert session.closed == 1
    check(inside.answer([IMAGE], fit)[0], network, 0)
    check(submit(inside).result(WAIT_S), network, 0)
    inside.close(0)


def test_closing_during_a_reload(old: FakeSession) -> None:
    inside = use(old)
    session = FakeSession(NEW.logits)

    def close_first(manifest: Manifest) -> tuple[Manifest, FakeSession]:
        inside.close(0)
        return manifest, session

    with pytest.raises(ClosedError):
        inside.replace(close_first, 1)
    assert (old.closed, session.closed) == (1, 1)
    with pytest.raises(ClosedError):
        inside.replace(close_first, 1)


def test_a_callback_cannot_reload(old: FakeSession) -> None:
    inside = use(old)
    raised: list[BaseException] = []

    def again(_: Any) -> None:
        try:
            inside.replace(lambda manifest: (manifest, old), 1)
        except ConfigError as error:
            raised.append(error)

    old.gate.clear()
    future = submit(inside)
    future.add_done_callback(again)
    old.gate.set()
    future.result(WAIT_S)
    inside.close(WAIT_S)
    assert len(raised) == 1


def test_failures_of_the_old_one_are_not_those_of_the_new(
    old: FakeSession, network: TinyNetwork
) -> None:
    inside = use(old)

    def broken(_: Any) -> Any:
        raise EngineError("driver")

    old.answer = broken
    for _ in range(3):
        inside.answer([IMAGE], fit)
    assert inside.health().state == "failed"
    swap(inside, FakeSession(NEW.logits)).join(WAIT_S)
    assert inside.health().ready
    assert inside.stats().engine_failures == 3
    inside.close(0)


def test_old_lanes_end(old: FakeSession) -> None:
    inside = use(old, lanes=3)
    submit(inside).result(WAIT_S)
    swap(inside, FakeSession(NEW.logits)).join(WAIT_S)
    submit(inside).result(WAIT_S)
    names = [t.name for t in threading.enumerate() if t.name.startswith("headlight-lane")]
    assert len(names) == 3
    inside.close(WAIT_S)


# ---- Reader.reload, on a real engine ------------------------------------------------------------


@pytest.fixture
def reader(tiny_artifact: Path) -> Iterator[Reader]:
    with Reader.open(tiny_artifact, max_batch=4, keep_scores=True) as opened:
        yield opened


def test_reload(
    reader: Reader, network: TinyNetwork, make_artifact: Callable[..., Path], engine: str
) -> None:
    check(reader.read(IMAGE), network, 1)
    reader.reload(make_artifact(OTHER_SIZE, engine=engine, version=2), trial=False)
    check(reader.read(IMAGE), OTHER_SIZE, 2)
    check(reader.submit(IMAGE).result(WAIT_S), OTHER_SIZE, 2)
    assert reader.info.input == WIDE
    assert reader.info.version == 2


def test_every_engine_takes_the_place_of_every_other(
    reader: Reader, make_artifact: Callable[..., Path]
) -> None:
    for version, engine in enumerate(["onnx", "openvino", "onnx"], 2):
        reader.reload(make_artifact(NEW, engine=engine, version=version), trial=False)
        check(reader.read(IMAGE), NEW, version)
        assert engine in reader.engine["engine"]


def test_reload_refuses_to_go_back(
    reader: Reader, make_artifact: Callable[..., Path], network: TinyNetwork
) -> None:
    reader.reload(make_artifact(NEW, version=5), trial=False)
    older = make_artifact(network, version=4)
    with pytest.raises(ArtifactError, match="older than 5"):
        reader.reload(older, trial=False)
    check(reader.read(IMAGE), NEW, 5)
    reader.reload(older, trial=False, minimum_version=0)
    check(reader.read(IMAGE), network, 4)


def test_reload_tries_in_a_child_first(
    reader: Reader, make_artifact: Callable[..., Path], network: TinyNetwork
) -> None:
    from runtime import golden

    folder = make_artifact(NEW, version=2)
    manifest = Manifest.load(folder)
    images = random_images(3)
    golden.write_golden(folder / "golden.npz", images, network.logits(images))  # of another
    files = {name: type(record).of(folder / name) for name, record in manifest.files.items()}
    text = replace(manifest, files=files).to_json()
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(EngineError, match="golden"):
        reader.reload(folder)
    check(reader.read(IMAGE), network, 1)
    reader.reload(make_artifact(NEW, version=2))
    check(reader.read(IMAGE), NEW, 2)


def test_reload_asks_for_the_same_key(make_artifact: Callable[..., Path], tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    from export.sign import sign_artifact
    from tests.signing import make_keys

    keys = make_keys(tmp_path)
    first, second = make_artifact(NEW), make_artifact(NEW, version=2)
    sign_artifact(first, keys.key)
    with Reader.open(first, verify=keys.public) as reader:
        with pytest.raises(SignatureError):
            reader.reload(second, trial=False)
        sign_artifact(second, keys.key)
        reader.reload(second, trial=False)
        assert reader.info.version == 2


def test_reload_keeps_the_callers_options(make_artifact: Callable[..., Path]) -> None:
    thresholds = Thresholds(answer=0.99)
    with Reader.open(make_artifact(NEW), thresholds=thresholds, keep_scores=True) as reader:
        reader.reload(make_artifact(NEW, version=2), trial=False)
        assert reader.operating.answer_threshold == 0.99
        assert reader.read(IMAGE).scores is not None


def test_other_heads_are_refused_unless_allowed(
    reader: Reader, make_artifact: Callable[..., Path], network: TinyNetwork
) -> None:
    schema = replace(SMALL_SCHEMA, heads=SMALL_SCHEMA.heads[:4])
    fewer = make_artifact(TinyNetwork(schema), version=2)
    with pytest.raises(SchemaError, match="extras"):
        reader.reload(fewer, trial=False)
    check(reader.read(IMAGE), network, 1)
    reader.reload(fewer, trial=False, other_heads=True)
    assert "extras" not in reader.read(IMAGE).heads


def test_formats_may_differ_but_labels_may_not() -> None:
    (reading,) = SMALL_SCHEMA.readings
    formats = (Format("letters", (("A", "B"), ("A", "B"), ("_",))),)
    check_heads(
        SMALL_SCHEMA, replace(SMALL_SCHEMA, readings=(replace(reading, formats=formats),)), "x"
    )
    first, *others = SMALL_SCHEMA.heads
    renamed = replace(first, labels=("A", "B", "沪"))
    changed = replace(
        SMALL_SCHEMA,
        heads=(renamed, *others),
        readings=(replace(reading, formats=formats),),
    )
    with pytest.raises(SchemaError, match="first"):
        check_heads(SMALL_SCHEMA, changed, "x")
    with pytest.raises(SchemaError, match="code"):
        check_heads(SMALL_SCHEMA, replace(SMALL_SCHEMA, readings=()), "x")


def test_tracks_do_not_mix_artifacts(reader: Reader, make_artifact: Callable[..., Path]) -> None:
    track = reader.track()
    first = reader.read(IMAGE)
    track.add(first)
    reader.reload(make_artifact(NEW, version=2), trial=False)
    second = reader.read(IMAGE)
    assert track.takes(first)
    assert not track.takes(second)
    with pytest.raises(ConfigError, match="reloaded"):
        track.add(second)
    answer = track.answer()
    assert answer is not None
    assert answer.artifact == first.artifact
    track = reader.track()
    track.add(second)
    assert track.frames == 1


def test_a_reader_that_was_not_opened_cannot_be_reloaded(old: FakeSession) -> None:
    with fake_reader(old) as reader, pytest.raises(ConfigError, match=r"Reader\.open"):
        reader.reload("somewhere")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_reload_in_a_forked_child_is_refused(old: FakeSession) -> None:
    inside = use(old)
    with inside._swapping, inside._replacing:  # held by threads that a child does not have
        child = os.fork()
        if child == 0:
            code = 1
            try:
                inside.replace(lambda manifest: (manifest, old), 1)
            except ClosedError:
                inside.close(0)
                code = 0
            finally:
                os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    inside.close(0)


def test_reading_while_reloading_from_many_threads(old: FakeSession, network: TinyNetwork) -> None:
    inside = use(old, lanes=2)
    networks = {0: network}
    ended = threading.Event()
    wrong: list[object] = []

    def judge(result: Any) -> None:
        try:
            check(result, networks[result.artifact.version], result.artifact.version)
        except Exception as error:  # noqa: BLE001
            wrong.append(error)

    def read() -> None:
        while not ended.is_set():
            judge(inside.answer([IMAGE], fit)[0])
            judge(submit(inside).result(WAIT_S))

    readers = [threading.Thread(target=read) for _ in range(4)]
    for thread in readers:
        thread.start()
    sessions = []
    for version in range(1, 31):
        networks[version] = OTHER_SIZE if version % 2 else NEW
        sessions.append(FakeSession(networks[version].logits))
        following = replace(inside.loaded.manifest, version=version, input=networks[version].spec)
        inside.replace(lambda _, f=following, s=sessions[-1]: (f, s), WAIT_S)  # type: ignore[misc]
    ended.set()
    for thread in readers:
        thread.join(WAIT_S)
    inside.close(WAIT_S)
    assert not wrong
    assert old.closed == 1
    assert [session.closed for session in sessions] == [1] * 30
    stats = inside.stats()
    assert stats.images == stats.answered
