"""A reader on a store: what it takes up, what it goes back from, and what it remembers."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import ClosedError, ConfigError, EngineError, HeadlightError, QueueOptions, Reader
from runtime.arrays import Images, Logits
from runtime.deployment import Deployment, DeploymentOptions
from runtime.probation import ProbationOptions
from runtime.versions import MOST_STARTS, Versions
from tests.artifacts import TinyNetwork, random_images
from tests.engines import require

IMAGE = random_images(1)[0]
WAIT_S = 10
PROBATION = ProbationOptions(watch_s=0.05, min_images=3)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """No children, and a watcher that looks often."""
    require("onnxruntime")
    monkeypatch.setattr("runtime.loading.trial_load", lambda *_, **__: {})
    monkeypatch.setattr("runtime.deployment._LOOK_S", 0.005)


@pytest.fixture
def store(tmp_path: Path) -> Versions:
    return Versions(tmp_path / "store")


@pytest.fixture
def artifact(make_artifact: Callable[..., Path]) -> Callable[[int], Path]:
    return lambda version: make_artifact(TinyNetwork(seed=version), version=version)


@pytest.fixture
def deploy(store: Versions, artifact: Callable[[int], Path]) -> Iterator[Callable[..., Deployment]]:
    """Open the store, with version 1 in it unless there are any."""
    opened: list[Deployment] = []

    def open_one(probation: ProbationOptions = PROBATION, **options: Any) -> Deployment:
        if not store.names():
            store.select(store.add(artifact(1)))
        settings = DeploymentOptions(**{"poll_s": 0.0, "probation": probation, **options})
        opened.append(
            Deployment(store, partial(Reader.open, queue=QueueOptions(), max_batch=4), settings)
        )
        return opened[-1]

    yield open_one
    for deployment in opened:
        deployment.close()


def until(met: Callable[[], bool]) -> None:
    limit = time.monotonic() + WAIT_S
    while not met():
        assert time.monotonic() < limit
        time.sleep(0.002)


def prove(deployment: Deployment) -> str:
    """Read until the version in use is confirmed, and return its name."""
    for _ in range(5):
        deployment.reader.read(IMAGE)
    until(lambda: deployment.status().state == "proven")
    return deployment.status().version


def break_engine(deployment: Deployment, run: Callable[[Images], Logits]) -> None:
    deployment.reader.session.run = run  # type: ignore[method-assign]


def fail(_: Images) -> Logits:
    raise EngineError("driver")


def test_a_version_proves_itself(deploy: Callable[..., Deployment], store: Versions) -> None:
    deployment = deploy()
    status = deployment.status()
    assert (status.state, status.reason, status.last_good) == ("watched", "start", None)
    name = prove(deployment)
    assert store.last_good == name == status.version
    assert store.state().starts == 0


def test_install_and_go_on_with_the_same_reader(
    deploy: Callable[..., Deployment], store: Versions, artifact: Callable[[int], Path]
) -> None:
    deployment = deploy()
    first = prove(deployment)
    reader = deployment.reader
    second = deployment.install(artifact(2))
    assert deployment.reader is reader
    assert reader.read(IMAGE).artifact == deployment.status().artifact == reader.info.name
    assert reader.info.version == 2
    assert (store.current, store.last_good) == (second, first)
    assert deployment.status().state == "watched"
    prove(deployment)
    assert store.last_good == second
    assert deployment.install(artifact(2)) == second
    assert deployment.status().reloads == 1


@pytest.mark.parametrize("how", ["fails", "not a number"])
def test_a_version_that_fails_is_rolled_back_and_not_taken_again(
    deploy: Callable[..., Deployment],
    store: Versions,
    artifact: Callable[[int], Path],
    how: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    deployment = deploy()
    first = prove(deployment)
    source = artifact(2)
    second = deployment.install(source)
    whole = deployment.reader.session.run

    def broken(images: Images) -> Logits:
        if how == "fails":
            fail(images)
        scores = whole(images)
        scores["first"][0] = np.nan
        return scores

    break_engine(deployment, broken)
    with caplog.at_level(logging.ERROR, "headlight"):
        while deployment.status().version == second:
            deployment.reader.read_many([IMAGE])
            time.sleep(0.001)
    assert store.current == first
    assert deployment.reader.read(IMAGE).artifact == deployment.reader.info.name
    status = deployment.status()
    assert (status.state, status.version, status.rollbacks) == ("proven", first, 1)
    assert f"{second} was rolled back" in status.reason
    assert "engine calls in a row failed" in status.reason
    assert second in status.rejected
    assert "went back" in caplog.text
    with pytest.raises(HeadlightError, match="rejected before"):
        deployment.install(source)
    assert deployment.status().version == first


def test_a_version_that_hangs_is_rolled_back(
    deploy: Callable[..., Deployment],
    store: Versions,
    artifact: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runtime.health._STUCK_S", 0.05)
    monkeypatch.setattr("runtime.deployment._BACK_DRAIN_S", 0.01)
    monkeypatch.setattr("runtime.dispatch._GRACE_S", 0.01)
    monkeypatch.setattr("runtime.loading._GRACE_S", 0.01)
    deployment = deploy()
    first = prove(deployment)
    second = deployment.install(artifact(2))
    gate = threading.Event()
    whole = deployment.reader.session.run

    def hang(images: Images) -> Logits:
        gate.wait(WAIT_S)
        return whole(images)

    break_engine(deployment, hang)
    held = deployment.reader.submit(IMAGE)
    until(lambda: store.current == first)
    assert "has been running" in store.state().bad[second]
    assert deployment.reader.submit(IMAGE).result(WAIT_S).artifact is not None
    gate.set()
    assert held.result(WAIT_S).artifact.version == 2  # late, but whole


def test_without_a_way_back_it_says_so_and_goes_on_watching(
    deploy: Callable[..., Deployment], store: Versions
) -> None:
    deployment = deploy()
    whole = deployment.reader.session.run
    break_engine(deployment, fail)
    for _ in range(3):
        with pytest.raises(EngineError):
            deployment.reader.read(IMAGE)
    until(lambda: deployment.status().state == "bad")
    assert "no version to go back to" in deployment.status().last_error
    assert store.state().bad == {}
    break_engine(deployment, whole)  # the driver is back
    for _ in range(60):
        deployment.reader.read(IMAGE)
    until(lambda: deployment.status().state == "proven")


def test_a_rollback_by_hand(
    deploy: Callable[..., Deployment], store: Versions, artifact: Callable[[int], Path]
) -> None:
    deployment = deploy()
    with pytest.raises(ConfigError, match="no version to go back to"):
        deployment.rollback("dislike")
    first = prove(deployment)
    second = deployment.install(artifact(2))
    prove(deployment)
    assert deployment.rollback("reads nothing at night") == first
    assert (store.current, store.last_good) == (first, first)
    assert store.state().bad == {second: "reads nothing at night"}
    assert deployment.reader.info.version == 1


def test_a_person_may_choose_any_version(
    deploy: Callable[..., Deployment], store: Versions, artifact: Callable[[int], Path]
) -> None:
    deployment = deploy()
    first = prove(deployment)
    second = deployment.install(artifact(2))
    assert deployment.rollback("dislike") == first
    assert deployment.use(second) == second == store.current
    assert (deployment.reader.info.version, store.state().bad) == (2, {})
    assert deployment.use(first) == first == deployment.use(first)
    assert (deployment.reader.info.version, deployment.status().reason) == (1, "chosen")
    with pytest.raises(ConfigError, match="no version"):
        deployment.use("3")


def test_an_artifact_that_cannot_be_loaded_leaves_no_trace(
    deploy: Callable[..., Deployment],
    store: Versions,
    artifact: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deployment = deploy()
    first = prove(deployment)

    def crash(*_: Any, **__: Any) -> None:
        raise EngineError("was ended by SIGSEGV")

    with monkeypatch.context() as patch:
        patch.setattr("runtime.loading.trial_load", crash)
        with pytest.raises(EngineError, match="SIGSEGV"):
            deployment.install(artifact(2))
    assert store.names() == [first]
    assert (store.current, deployment.status().version) == (first, first)
    assert deployment.reader.read(IMAGE).artifact.version == 1
    assert deployment.status().state == "proven"


def test_a_version_that_cannot_be_noted_is_not_used(
    deploy: Callable[..., Deployment],
    store: Versions,
    artifact: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deployment = deploy()
    first = prove(deployment)

    def full(name: str) -> None:
        raise ConfigError("No space left on device")

    monkeypatch.setattr(store, "select", full)
    with pytest.raises(ConfigError):
        deployment.install(artifact(2))
    assert (deployment.status().version, store.current) == (first, first)
    assert deployment.reader.info.version == 1
    assert store.names() == [first]


# ---- what other processes do --------------------------------------------------------------------


def test_what_another_process_installs_is_taken_up(
    deploy: Callable[..., Deployment],
    store: Versions,
    artifact: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deployment = deploy(poll_s=0.01)
    other = Versions(store.folder)
    # Somebody may install a third one while the second is being taken up.
    monkeypatch.setattr(store, "select", lambda _: pytest.fail("chose for somebody else"))
    second = other.add(artifact(2))
    other.select(second)
    until(lambda: deployment.status().version == second)
    assert deployment.reader.info.version == 2
    first = other.fallback(second)
    assert first is not None
    other.reject(second, "by hand", instead=first)
    until(lambda: deployment.status().version == first)
    assert deployment.reader.info.version == 1


def test_what_another_process_installs_and_cannot_be_loaded_is_rejected(
    deploy: Callable[..., Deployment],
    store: Versions,
    artifact: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deployment = deploy()
    first = deployment.status().version
    assert deployment.reload() == first
    other = Versions(store.folder)
    second = other.add(artifact(2))
    other.select(second)

    def crash(*_: Any, **__: Any) -> None:
        raise EngineError("was ended by SIGSEGV")

    monkeypatch.setattr("runtime.loading.trial_load", crash)
    with pytest.raises(EngineError):
        deployment.reload()
    assert store.current == first
    assert "SIGSEGV" in store.state().bad[second]
    assert "SIGSEGV" in deployment.status().last_error
    assert deployment.reload() == first


# ---- starting and ending ------------------------------------------------------------------------


def test_a_version_that_cannot_be_opened_is_left_at_the_start(
    deploy: Callable[..., Deployment], store: Versions, artifact: Callable[[int], Path]
) -> None:
    first = prove(deploy())
    deploy().install(artifact(2))
    (store.folder / "current" / "model.onnx").write_bytes(b"damaged")
    second = store.current
    deployment = deploy()
    assert deployment.status().version == store.current == first
    assert "could not be opened" in deployment.status().reason
    assert second in store.state().bad


def test_if_nothing_can_be_opened_nothing_is_changed(
    deploy: Callable[..., Deployment], store: Versions, artifact: Callable[[int], Path]
) -> None:
    deploy().install(artifact(2))
    current = store.current
    for name in store.names():
        (store.path(name) / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(HeadlightError):
        deploy()
    assert store.current == current
    assert store.state().bad == {}


def test_starts_are_counted_until_it_has_run_for_a_while(
    deploy: Callable[..., Deployment], store: Versions, artifact: Callable[[int], Path]
) -> None:
    first = deploy()
    prove(first)
    first.install(artifact(2))
    first.close()
    deployment = deploy()
    until(lambda: store.state().starts == 0)  # no image came, but it ran
    assert deployment.status().state == "watched"
    deployment.close()
    for starts in range(1, MOST_STARTS + 1):
        deploy(ProbationOptions(watch_s=100))  # not closed, as if it were killed
        assert store.state().starts == starts
    last = deploy()
    assert last.reader.info.version == 1
    assert "3 starts in a row" in next(iter(last.status().rejected.values()))


def test_closing_ends_all(deploy: Callable[..., Deployment], store: Versions) -> None:
    with deploy(ProbationOptions(watch_s=100)) as deployment:
        assert store.state().starts == 1
    deployment.close()
    assert store.state().starts == 0
    with pytest.raises(ClosedError):
        deployment.reader.read(IMAGE)
    assert not [t for t in threading.enumerate() if t.name == "headlight-watch"]
    shutil.rmtree(store.folder)  # nothing needs it any more


def test_options_that_cannot_work() -> None:
    with pytest.raises(ConfigError):
        DeploymentOptions(poll_s=-1)
