from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime import (
    ArtifactError,
    ConfigError,
    EngineError,
    HeadlightError,
    IntegrityError,
    Manifest,
)
from runtime.session import SessionOptions
from runtime.versions import MOST_STARTS, Versions
from tests.artifacts import TinyNetwork
from tests.engines import require

NETWORK = TinyNetwork()


@pytest.fixture
def store(tmp_path: Path) -> Versions:
    return Versions(tmp_path / "store")


@pytest.fixture
def artifact(make_artifact: Callable[..., Path]) -> Callable[[int], Path]:
    """Write an artifact of a version."""
    return lambda version: make_artifact(NETWORK, version=version)


def install(store: Versions, folder: Path, **options: Any) -> str:
    name = store.add(folder, **options)
    store.select(name)
    return name


def listing(store: Versions) -> dict[str, Any]:
    """Everything in the store but locks."""
    found = {}
    for path in sorted(store.folder.rglob("*")):
        if path.is_symlink():
            found[str(path)] = str(path.readlink())
        elif path.is_file() and path.suffix != ".lock":
            found[str(path)] = path.read_bytes()
    return found


def test_what_is_installed_is_a_whole_copy(
    store: Versions, artifact: Callable[[int], Path]
) -> None:
    source = artifact(7)
    name = install(store, source)
    assert name.startswith("7-small-onnx-fp32-test-")
    assert store.current == name
    assert store.last_good is None
    manifest = Manifest.load(store.folder / "current")
    manifest.check_files(store.folder / "current")
    assert manifest == Manifest.load(source)
    assert not list(store.folder.rglob("*.partial"))
    shutil.rmtree(source)
    Manifest.load(store.path(name)).check_files(store.path(name))


def test_same_content_is_one_version(store: Versions, artifact: Callable[[int], Path]) -> None:
    source = artifact(1)
    assert install(store, source) == install(store, source)
    assert len(store.names()) == 1
    # A version that was damaged since is copied again.
    (store.folder / "current" / "model.onnx").write_bytes(b"")
    install(store, source)
    Manifest.load(store.folder / "current").check_files(store.folder / "current")


def test_older_versions_are_refused_unless_asked_for(
    store: Versions, artifact: Callable[[int], Path]
) -> None:
    new, old = artifact(2), artifact(1)
    name = install(store, new)
    with pytest.raises(ArtifactError, match="older than 2"):
        store.add(old)
    assert store.names() == [name]
    install(store, old, minimum_version=0)
    assert len(store.names()) == 2


def change_engine(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"other")


def add_file(folder: Path) -> None:
    (folder / "more").touch()


def link_engine(folder: Path) -> None:
    (folder / "model.onnx").rename(folder.parent / "elsewhere")
    (folder / "model.onnx").symlink_to(folder.parent / "elsewhere")


@pytest.mark.parametrize("change", [change_engine, add_file, link_engine])
def test_what_does_not_match_its_manifest_changes_nothing(
    store: Versions, artifact: Callable[[int], Path], change: Callable[[Path], None]
) -> None:
    install(store, artifact(1))
    before = listing(store)
    bad = artifact(2)
    change(bad)
    with pytest.raises(IntegrityError):
        store.add(bad)
    assert listing(store) == before


def test_a_source_that_changes_while_it_is_copied(
    store: Versions, artifact: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = artifact(1), artifact(2)
    copy = shutil.copyfile

    def swapped(source: Path, target: Path, **options: Any) -> Any:
        return copy(second / source.name, target, **options)

    monkeypatch.setattr(shutil, "copyfile", swapped)
    with pytest.raises(IntegrityError, match="while it was copied"):
        store.add(first)
    assert listing(store) == {}


def test_the_trial_comes_before_the_version(
    store: Versions, artifact: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    require("onnxruntime")
    seen: list[list[str]] = []

    def refuse(folder: Path, options: SessionOptions) -> None:
        seen.append(store.names())
        raise EngineError("crashed")

    monkeypatch.setattr("runtime.versions.trial_load", refuse)
    with pytest.raises(EngineError):
        store.add(artifact(1), trial=SessionOptions())
    assert seen == [[]]
    assert listing(store) == {}


@pytest.mark.parametrize("step", ["copyfile", "rename", "fsync"])
def test_a_full_disk_changes_nothing_and_says_so(
    store: Versions,
    artifact: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    install(store, artifact(1))
    before = listing(store)
    source = artifact(2)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if step == "copyfile":
            patch.setattr(shutil, "copyfile", full)
        elif step == "rename":
            patch.setattr(Path, "replace", full)
        else:
            patch.setattr(os, "fsync", full)
        with pytest.raises(ConfigError, match="No space left"):
            store.add(source)
    assert listing(store) == before
    install(store, source)


def test_the_oldest_go_but_never_those_in_use(
    store: Versions, artifact: Callable[[int], Path]
) -> None:
    names = []
    for version in range(1, 8):
        names.append(install(store, artifact(version)))
        if version == 2:
            store.confirm(names[-1])
    # The one in use, the last good one, and three more.
    assert store.names() == [names[6], names[5], names[4], names[3], names[1]]
    assert store.last_good == names[1]
    assert not list(store.folder.rglob("*.partial"))


# ---- rejecting and starting ---------------------------------------------------------------------


def test_a_rejected_version_is_not_taken_again(
    store: Versions, artifact: Callable[[int], Path]
) -> None:
    good = install(store, artifact(1))
    store.confirm(good)
    source = artifact(2)
    bad = install(store, source)
    assert store.fallback(bad) == good
    store.reject(bad, "reads nothing", instead=good)
    assert (store.current, store.last_good) == (good, good)
    with pytest.raises(ArtifactError, match="reads nothing"):
        store.add(source)
    assert install(store, source, again=True) == bad
    assert store.state().bad == {}


def test_without_a_last_good_one_the_newest_other_is_used(
    store: Versions, artifact: Callable[[int], Path]
) -> None:
    first, second, third = (install(store, artifact(version)) for version in (1, 2, 3))
    assert store.fallback(third) == second
    store.reject(second, "bad", instead=third)
    assert store.current == third  # it was not in use
    assert store.fallback(third) == first
    store.reject(first, "bad", instead=third)
    assert store.fallback(third) is None


def test_a_last_good_one_that_turns_bad(store: Versions, artifact: Callable[[int], Path]) -> None:
    first, second = (install(store, artifact(version)) for version in (1, 2))
    store.confirm(second)
    store.reject(second, "bad", instead=first)
    assert (store.current, store.last_good) == (first, first)


def test_a_start_after_half_a_rejection(store: Versions, artifact: Callable[[int], Path]) -> None:
    first, second = (install(store, artifact(version)) for version in (1, 2))
    store.confirm(second)
    store.state().rejecting(second, "bad").save(store.folder)  # and killed before the links
    assert store.begin_start() == first
    assert store.current == first


def test_links_reach_the_disk(
    store: Versions, artifact: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = install(store, artifact(1))
    install(store, artifact(2))
    seen: list[tuple[Path, str | None]] = []
    monkeypatch.setattr("runtime.versions.sync", lambda path: seen.append((path, store.current)))
    store.select(name)
    assert seen == [(store.folder, name)]


def test_three_starts_that_did_not_end_well_are_enough(
    store: Versions, artifact: Callable[[int], Path]
) -> None:
    good = install(store, artifact(1))
    store.confirm(good)
    for _ in range(10):  # one that proved itself is never given up
        assert store.begin_start() == good
    new = install(store, artifact(2))
    for _ in range(MOST_STARTS - 1):
        assert store.begin_start() == new
    store.end_start()  # stopped, not killed
    for _ in range(MOST_STARTS):
        assert store.begin_start() == new
    assert store.begin_start() == good
    assert store.current == good
    assert "3 starts in a row" in store.state().bad[new]


def test_the_only_version_is_started_forever(
    store: Versions, artifact: Callable[[int], Path]
) -> None:
    with pytest.raises(ConfigError, match=r"runtime\.install"):
        store.begin_start()
    only = install(store, artifact(1))
    assert {store.begin_start() for _ in range(10)} == {only}


def test_a_version_that_is_gone_is_not_started(
    store: Versions, artifact: Callable[[int], Path]
) -> None:
    first, second = (install(store, artifact(version)) for version in (1, 2))
    shutil.rmtree(store.path(second))
    assert store.current is None
    assert store.begin_start() == first
    assert store.current == first


def test_a_damaged_state_keeps_nobody_out(store: Versions, artifact: Callable[[int], Path]) -> None:
    name = install(store, artifact(1))
    store.begin_start()
    for text in ("", "{", "[]", '{"bad": 3}', '{"bad": {}, "starting": "", "starts": true}'):
        (store.folder / "state.json").write_text(text, encoding="utf-8")
        assert store.state().bad == {}
        assert store.begin_start() == name


def test_reasons_do_not_pile_up(store: Versions, artifact: Callable[[int], Path]) -> None:
    state = store.state()
    for index in range(150):
        state = state.rejecting(f"v{index}", "x" * 5000)
    assert len(state.bad) == 100
    assert "v149" in state.bad
    state.save(store.folder)
    assert store.state() == state


def test_leftovers_of_the_killed_are_removed_at_the_next_start(
    store: Versions, artifact: Callable[[int], Path]
) -> None:
    name = install(store, artifact(1))
    (store.folder / "versions" / ".x.abc.partial").mkdir()
    (store.folder / "versions" / ".x.abc.partial" / "model.onnx").touch()
    (store.folder / ".state.json.1.partial").touch()
    (store.folder / ".current.partial").symlink_to("nowhere")
    assert store.begin_start() == name
    assert not list(store.folder.rglob("*.partial"))


def test_threads_install_at_the_same_time(store: Versions, artifact: Callable[[int], Path]) -> None:
    sources = [artifact(3) for _ in range(2)] + [artifact(version) for version in (4, 5, 6)]
    errors: list[BaseException] = []

    def work(source: Path) -> None:
        try:
            install(Versions(store.folder), source, minimum_version=0)
        except HeadlightError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not errors
    assert len(store.names()) == 4
    for name in store.names():
        Manifest.load(store.path(name)).check_files(store.path(name))


def test_a_store_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError):
        Versions(tmp_path / "file" / "store")
    with pytest.raises(ConfigError, match="keep"):
        Versions(tmp_path / "store", keep=1)
    with pytest.raises(ConfigError, match="no version"):
        Versions(tmp_path / "store").select("x")
