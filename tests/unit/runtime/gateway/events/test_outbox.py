from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import runtime
from runtime.errors import ConfigError
from runtime.gateway.events.outbox import Outbox, OutboxOptions
from runtime.gateway.events.store import Row, Store

ROOT = Path(runtime.__file__).parents[1]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def opened(path: Path, sinks: tuple[str, ...] = ("a",), **options: Any) -> Outbox:
    clock = options.pop("clock", time.monotonic)
    return Outbox(OutboxOptions(path=str(path), **options), sinks, clock=clock)


def ids(outbox: Outbox, sink: str = "a", limit: int = 1000) -> list[str]:
    return [row.id for row in outbox.pending(sink, limit)]


def take(outbox: Outbox, count: int, sink: str = "a") -> None:
    outbox.taken(sink, outbox.pending(sink, count)[-1].seq)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox" / "events.sqlite"


def test_keeps_order_and_each_sink_its_place(path: Path) -> None:
    outbox = opened(path, ("a", "b"))
    for name in "vwxyz":
        outbox.add(name, name.encode() * 3)
    assert [row.payload for row in outbox.pending("a", 2)] == [b"vvv", b"www"]
    take(outbox, 3)
    outbox.save()
    assert ids(outbox) == ["y", "z"]
    assert ids(outbox, "b") == [*"vwxyz"]
    assert (outbox.waiting("a"), outbox.waiting("b")) == (2, 5)
    outbox.close()
    again = opened(path, ("a", "b"))
    assert ids(again) == ["y", "z"]
    assert ids(again, "b") == [*"vwxyz"]
    again.close()


def test_what_all_have_taken_is_gone_from_the_file(path: Path) -> None:
    outbox = opened(path)
    outbox.add("x", "苏A12345".encode())
    assert "苏A12345".encode() in path.with_name(path.name + "-wal").read_bytes()
    take(outbox, 1)
    outbox.close()
    assert "苏A12345".encode() not in path.read_bytes()
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_file_is_its_owners_alone(path: Path) -> None:
    outbox = opened(path)
    outbox.add("x", b"1")
    modes = {p.name: p.stat().st_mode & 0o777 for p in path.parent.iterdir()}
    assert modes == {path.name: 0o600, f"{path.name}-wal": 0o600}
    outbox.close()


def test_the_same_event_twice_is_one(path: Path) -> None:
    outbox = opened(path)
    for _ in range(3):
        outbox.add("x", b"1")
    assert ids(outbox) == ["x"]
    outbox.close()


def test_sinks_that_come_and_go(path: Path) -> None:
    outbox = opened(path, ("a", "b"))
    for name in "xyz":
        outbox.add(name, b"1")
    take(outbox, 3)
    outbox.close()
    # b is gone and holds nothing any more; c gets what is still there.
    again = opened(path, ("a", "c"))
    assert ids(again) == []
    assert ids(again, "c") == [*"xyz"]
    take(again, 3, "c")
    again.save()
    again.add("w", b"1")
    assert ids(again) == ids(again, "c") == ["w"]
    again.close()


@pytest.mark.parametrize("bounds", [{"max_rows": 3}, {"max_bytes": 30}])
def test_the_oldest_go_first_and_are_counted(path: Path, bounds: dict[str, int]) -> None:
    outbox = opened(path, ("a", "b"), **bounds)
    for name in "uv":
        outbox.add(name, b"0123456789")
    take(outbox, 1)
    for name in "wxyz":
        outbox.add(name, b"0123456789")
    assert ids(outbox) == ids(outbox, "b") == [*"xyz"]
    assert (outbox.dropped("a"), outbox.dropped("b")) == (2, 3)
    outbox.close()
    again = opened(path, ("a", "b"), **bounds)
    assert ids(again) == [*"xyz"]
    again.close()


def test_an_event_larger_than_the_bound_is_dropped(path: Path) -> None:
    outbox = opened(path, max_bytes=5)
    outbox.add("x", b"0123456789")
    assert (ids(outbox), outbox.dropped("a")) == ([], 1)
    outbox.close()


def fill(outbox: Outbox) -> None:
    """Have the disk be full: the file may not grow any more."""
    store = outbox._store
    assert store is not None
    (pages,) = store._database.execute("PRAGMA page_count").fetchone()
    store._database.execute(f"PRAGMA max_page_count = {pages}")


def make_room(outbox: Outbox) -> None:
    store = outbox._store
    assert store is not None
    store._database.execute("PRAGMA max_page_count = 1000000")


def test_a_full_disk_is_bridged_by_memory(path: Path) -> None:
    clock = Clock()
    outbox = opened(path, ("a", "b"), clock=clock)
    outbox.add("u", b"1" * 100)
    fill(outbox)
    for name in "vwx":
        outbox.add(name, b"1" * 50_000)
    assert "full" in str(outbox.reason)
    assert ids(outbox) == [*"uvwx"]  # sinks are served all the same
    take(outbox, 2)
    outbox.save()
    assert ids(outbox) == [*"wx"]
    make_room(outbox)
    outbox.add("y", b"1")
    assert "full" in str(outbox.reason)  # it is not tried at every event
    clock.now = 6
    outbox.add("z", b"1")
    assert outbox.reason is None
    assert not outbox._memory
    assert (ids(outbox), ids(outbox, "b")) == ([*"wxyz"], [*"uvwxyz"])
    outbox.close()
    again = opened(path, ("a", "b"))
    assert (ids(again), ids(again, "b")) == ([*"wxyz"], [*"uvwxyz"])
    again.close()


@pytest.mark.parametrize("bounds", [{"memory_rows": 4}, {"memory_bytes": 200_000}])
def test_memory_is_bounded_and_drops_are_counted(path: Path, bounds: dict[str, Any]) -> None:
    outbox = opened(path, clock=Clock(), **bounds)
    fill(outbox)
    for number in range(10):
        outbox.add(str(number), b"1" * 50_000)
    assert ids(outbox) == ["6", "7", "8", "9"]
    assert outbox.dropped("a") == 6
    outbox.close()


def test_nothing_overtakes_what_cannot_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    outbox = opened(path, clock=clock)
    outbox.add("x", b"1")
    fill(outbox)
    outbox.add("y", b"1" * 50_000)

    def fails(*_: object) -> list[Row]:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "after", fails)
        assert ids(outbox) == []
    assert ids(outbox) == ["x", "y"]
    make_room(outbox)
    outbox.close()


def test_a_folder_that_cannot_be_written_at_first(tmp_path: Path) -> None:
    blocker = tmp_path / "outbox"
    blocker.write_text("in the way")
    clock = Clock()
    outbox = opened(blocker / "events.sqlite", clock=clock)
    assert outbox.reason is not None
    outbox.add("x", b"1")
    outbox.add("x", b"1")
    assert ids(outbox) == ["x"]
    blocker.unlink()
    clock.now = 6
    assert ids(outbox) == ["x"]
    assert outbox.reason is None
    outbox.close()
    again = opened(blocker / "events.sqlite")
    assert ids(again) == ["x"]
    again.close()


def test_numbers_go_on_where_an_unreadable_file_had_ended(path: Path) -> None:
    before = opened(path)
    for name in "uv":
        before.add(name, b"1")
    clock = Clock()
    # Another process has the file, so that this one begins in memory.
    outbox = opened(path, clock=clock)
    assert "locked" in str(outbox.reason)
    for name in "wx":
        outbox.add(name, b"1")
    handed = outbox.pending("a", 10)
    assert [row.id for row in handed] == [*"wx"]
    before.close()
    clock.now = 6
    outbox.add("y", b"1")
    outbox.taken("a", handed[-1].seq)  # of numbers that do not count any more
    assert ids(outbox) == [*"uvwxy"]
    outbox.close()


@pytest.mark.parametrize("damage", ["start", "middle", "nothing"])
def test_a_damaged_file_is_set_aside(path: Path, damage: str) -> None:
    before = opened(path, power_safe=False)
    for number in range(200):
        before.add(str(number), b"1" * 500)
    before.close()
    content = bytearray(path.read_bytes())
    if damage == "start":
        content[:100] = random.Random(0).randbytes(100)
    elif damage == "middle":
        content[8192:40960] = random.Random(0).randbytes(32768)
    path.write_bytes(content)
    outbox = opened(path)
    outbox.add("x", b"1")
    kept = 200 if damage == "nothing" else 0
    assert len(ids(outbox)) == kept + 1
    assert outbox.reason is None
    assert outbox.damaged == (damage != "nothing")
    assert path.with_name("events.sqlite.damaged").exists() == (damage != "nothing")
    outbox.close()


def test_damage_while_running_is_counted_and_survived(path: Path) -> None:
    outbox = opened(path, power_safe=False)
    for number in range(200):
        outbox.add(str(number), b"1" * 500)
    take(outbox, 50)
    store = outbox._store
    assert store is not None
    store._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store._database.execute("PRAGMA cache_size = 0")
    store._database.execute("PRAGMA shrink_memory")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(random.Random(0).randbytes(path.stat().st_size - 4096))
    outbox.add("x", b"1")
    outbox.add("y", b"1")
    assert ids(outbox)[-2:] == ["x", "y"]
    assert outbox.reason is None
    assert outbox.damaged == 1
    assert outbox.dropped("a") == 150
    outbox.close()


def test_a_file_of_another_version_is_set_aside(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE something (x)")
        database.execute("PRAGMA user_version = 7")
    database.close()
    outbox = opened(path)
    assert outbox.damaged == 1
    outbox.close()


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["add", "take a", "take b", "reopen", "full", "room", "wait"]),
              st.integers(1, 4)),
    max_size=30,
)  # fmt: skip


@settings(max_examples=30)
@given(operations=OPERATIONS)
def test_every_event_reaches_every_sink_in_order(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[str, int]]
) -> None:
    """Whatever happens to the disk: nothing is lost as long as memory suffices."""
    path, clock = tmp_path_factory.mktemp("outbox") / "events.sqlite", Clock()
    outbox, added = opened(path, ("a", "b"), clock=clock, power_safe=False), 0
    got: dict[str, list[str]] = {"a": [], "b": []}

    def deliver(sink: str, count: int) -> None:
        rows = outbox.pending(sink, count)
        for row in rows:
            got[sink].append(row.id)
            outbox.taken(sink, row.seq)
        outbox.save()

    for what, count in [*operations, ("room", 1), ("wait", 1)]:
        if what == "add":
            for _ in range(count):
                outbox.add(str(added), b"1" * 3000)
                added += 1
        elif what.startswith("take"):
            deliver(what[-1], count)
        elif what == "reopen":
            make_room(outbox)
            outbox.close()
            outbox = opened(path, ("a", "b"), clock=clock, power_safe=False)
        elif what == "full":
            fill(outbox)
        elif what == "room":
            make_room(outbox)
        else:
            clock.now += 6
    for sink in got:
        deliver(sink, added + 1)
        assert [int(name) for name in got[sink]] == list(range(added))
    outbox.close()


KILLED = """
import sys
from runtime.gateway.events.outbox import Outbox, OutboxOptions
outbox = Outbox(OutboxOptions(path=sys.argv[1], power_safe=sys.argv[3] == "True"), ["a"])
number = int(sys.argv[2])
while True:
    outbox.add(str(number), b"1" * 300)
    print(number, flush=True)
    number += 1
    if number % 7 == 0:
        rows = outbox.pending("a", 3)
        outbox.taken("a", rows[-1].seq)
        outbox.save()
        print("taken", rows[-1].id, flush=True)
"""


@pytest.mark.parametrize("power_safe", [True, False])
def test_a_killed_process_loses_nothing_that_it_had_kept(path: Path, power_safe: bool) -> None:
    path.parent.mkdir()
    delay = random.Random(1)
    said, taken = 0, -1
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path), str(said), str(power_safe)],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        lines = process.stdout.read().split("\n")
        process.wait()
        process.stdout.close()
        for line in lines[:-1]:  # the last may be cut
            if line.startswith("taken"):
                taken = int(line.split()[1])
            else:
                said = int(line) + 1
        outbox = opened(path)
        found = [int(name) for name in ids(outbox, limit=100_000)]
        # All that was kept and not taken is there; one more may be, whose line was not printed.
        assert found == list(range(found[0], found[-1] + 1))
        assert found[0] <= taken + 4
        assert found[-1] >= said - 1
        said = found[-1] + 1
        assert outbox.damaged == 0
        outbox.close()


@pytest.mark.parametrize(
    "options",
    [{"path": ""}, {"max_rows": 0}, {"max_bytes": 0}, {"memory_rows": 0}, {"memory_bytes": 0},
     {"retry_s": 0}],
)  # fmt: skip
def test_refuses_what_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        OutboxOptions(**options)


def test_the_file_stays_within_its_bound(path: Path) -> None:
    outbox = opened(path, max_bytes=200_000, power_safe=False)
    for number in range(600):
        outbox.add(str(number), b"1" * 2000)
    outbox.close()
    assert path.stat().st_size <= 300_000
    with_store = Store(path)
    assert with_store.rows == 100
    assert with_store.after(0, 1)[0] == Row(501, "500", b"1" * 2000)
    with_store.close()
