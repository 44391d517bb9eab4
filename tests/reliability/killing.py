"""Kills changes to a store of versions before each of their operations on files.

``python -m tests.reliability.killing FOLDER STRIDE`` prints one line per kind of change: at how
many places it was killed, every STRIDE-th that there is, after each of which the store could be
started from. Children are forks, and the interpreter's audit hook, which is told of every operation
before it happens, kills them.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runtime.manifest import Manifest
from runtime.versions import MOST_STARTS, Versions
from tests.artifacts import TinyNetwork, write_artifact

Change = Callable[[Versions], object]


def install(store: Versions, folder: Path) -> str:
    name = store.add(folder)
    store.select(name)
    return name


def kill_before(step: int, folder: Path) -> None:
    """Have this process killed before its operation number ``step`` on anything in ``folder``."""
    place, seen = str(folder), 0

    def hook(_: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if any(isinstance(a, str | os.PathLike) and str(a).startswith(place) for a in arguments):
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1

    sys.addaudithook(hook)


def killed_at(step: int, folder: Path, change: Change) -> bool:
    """Run a change in a child that is killed at ``step``; False if it ended before."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            kill_before(step, folder)
            change(Versions(folder))
            code = 0
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), status
    return status != 0


def check(folder: Path, following: Path) -> str:
    """Start from a store as it was left, and then install once more; return what was started."""
    store = Versions(folder)
    name = store.begin_start()
    assert store.current == name
    assert name not in store.state().bad, f"{name} was rejected"
    Manifest.load(store.path(name)).check_files(store.path(name))
    assert not list(folder.rglob("*.partial"))
    for other in store.names():
        Manifest.load(store.path(other)).check_files(store.path(other))
    assert store.begin_start() == name
    again = install(store, following)
    assert store.begin_start() == again
    return name


def main(scratch: Path, stride: int) -> None:
    # What a process wrote outlives it without; only a power cut needs it, and it takes seconds.
    os.fsync = lambda _: None
    sources = {}
    for version in (1, 2, 3, 4, 5, 6, 9):
        sources[version] = scratch / f"artifact-{version}"
        write_artifact(sources[version], TinyNetwork(seed=version), version=version)

    def prepared(name: str) -> Path:
        return scratch / f"base-{name}"

    empty = Versions(prepared("empty"))
    one = Versions(prepared("one"))
    one.confirm(install(one, sources[1]))
    two = Versions(prepared("two"))
    first = install(two, sources[1])
    two.confirm(first)
    second = install(two, sources[2])
    many = Versions(prepared("many"))
    for version in (1, 2, 3, 4, 5):
        install(many, sources[version])
    tired = Versions(shutil.copytree(two.folder, prepared("tired"), symlinks=True))
    for _ in range(MOST_STARTS):
        tired.begin_start()
    third = install(Versions(shutil.copytree(one.folder, scratch / "x", symlinks=True)), sources[6])
    changes: dict[str, tuple[Versions, Change, set[str] | None]] = {
        "install": (one, lambda store: install(store, sources[6]), {first, third}),
        # Killed before anything was there, there is nothing to start with.
        "first": (empty, lambda store: install(store, sources[1]), None),
        "tidy": (many, lambda store: install(store, sources[6]), None),
        "confirm": (two, lambda store: store.confirm(second), {second}),
        "reject": (
            two,
            lambda store: store.reject(second, "bad", instead=first),
            {first, second},
        ),
        "start": (two, lambda store: store.begin_start(), {second}),
        "strike": (tired, lambda store: store.begin_start(), {first}),
    }
    for name, (base, change, expected) in changes.items():
        kills, running = 0, True
        while running:
            folder = scratch / "store"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(base.folder, folder, symlinks=True)
            running = killed_at(kills * stride, folder, change)
            left = Versions(folder)
            assert base is empty or left.current is not None
            # Whatever is in use instead, why the other is not is remembered.
            assert name != "reject" or left.current == second or second in left.state().bad
            if name == "first" and not Versions(folder).names():
                install(Versions(folder), sources[1])
            started = check(folder, sources[9])
            assert expected is None or started in expected, (name, kills * stride, started)
            kills += running
        print(name, kills)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
