"""R11: what happens when disk, file handles or clock fail under the gateway.

Each part degrades and says why, keeps within its bounds, and recovers; nothing that was to be kept
is lost. The broker and the gateway itself: test_r11_delivery.py.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

import runtime
from runtime.errors import DeliveryError
from runtime.gateway.events.event import Event, camera_event
from runtime.gateway.events.json_lines import JsonLines, JsonLinesOptions
from runtime.gateway.events.outbox import OutboxOptions
from runtime.gateway.events.publisher import Publisher
from runtime.gateway.pictures import PictureOptions, Pictures
from tests.painted import BEGIN, PLATES, blank
from tests.reliability.conftest import Count
from tests.road import Road

pytestmark = pytest.mark.reliability
ROOT = Path(runtime.__file__).parents[1]


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def event(number: int) -> Event:
    return camera_event("gate", "running", "x" * 400, BEGIN + timedelta(seconds=number))


def rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def lines_of(path: Path) -> list[str]:
    """Ids in a file of events and its rotated ones; every line must be whole."""
    files = sorted(path.parent.glob(f"{path.name}*"))
    return [json.loads(line)["id"] for file in files for line in file.read_bytes().splitlines()]


@contextmanager
def small_disk(folder: Path, size_kb: int) -> Iterator[Path]:
    """A file system of its own, or a skip where it cannot be mounted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "none", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small tmpfs cannot be mounted here; needs root and CAP_SYS_ADMIN")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(tmp_path: Path, count: Count, full: bool) -> None:
    """Outbox, JSON lines and pictures on one disk, which is filled and emptied in between."""
    rounds = 10 if full else 3
    with small_disk(tmp_path / "disk", 4096) as disk:
        path = disk / "events.jsonl"
        sink = JsonLines(JsonLinesOptions(path=str(path), max_bytes=256 << 10, keep=1))
        pictures = Pictures(PictureOptions(folder=str(disk / "pictures"), keep_hours=1e5))
        outbox = OutboxOptions(path=str(disk / "outbox.sqlite"), retry_s=0.1)
        told: list[str] = []
        seen, reasons = Counter[str](), 0
        publisher = Publisher(outbox, [sink], retry_max_s=0.05)
        with publisher:
            for _ in range(rounds):
                ballast = disk / "ballast"
                fill(ballast)
                for _ in range(60):
                    one = event(len(told))
                    publisher.publish(one)
                    told.append(one.id)
                until(lambda: publisher.reason is not None)
                assert "full" in str(publisher.reason) or "space" in str(publisher.reason)
                assert pictures.keep(told[-1], BEGIN, blank()) is None
                assert pictures.status().reason is not None
                until(lambda: publisher.status()[0].failing_since is not None)
                reasons += 1
                ballast.unlink()
                until(lambda: publisher.reason is None and publisher.status()[0].waiting == 0)
                assert pictures.keep(told[-1], BEGIN, blank()) is not None
                seen.update(lines_of(path))
                for file in disk.glob("events.jsonl*"):
                    os.truncate(file, 0)
                sink._size = 0
        assert set(seen) == set(told)
        lost = len(set(told) - set(seen))
        twice = sum(number - 1 for number in seen.values())
        assert not list(disk.rglob("*.partial"))
        count("R11 full disk", rounds=rounds, events=len(told), lost=lost, twice=twice,
              degraded_with_reason=reasons)  # fmt: skip


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 512, 1):
            with suppress(OSError):
                while True:
                    file.write(b"\0" * size)


HANDLES = """
import json, os, resource, sys, time
from pathlib import Path
from datetime import timedelta
from runtime.gateway.events.event import camera_event
from runtime.gateway.events.json_lines import JsonLines, JsonLinesOptions
from runtime.gateway.events.outbox import OutboxOptions
from runtime.gateway.events.publisher import Publisher
from runtime.gateway.pictures import PictureOptions, Pictures
from tests.painted import BEGIN, blank

folder = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

def exhaust():
    held = []
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        return held

def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)

held = exhaust()
sink = JsonLines(JsonLinesOptions(path=str(folder / "events.jsonl")))
pictures = Pictures(PictureOptions(folder=str(folder / "pictures")))
outbox = OutboxOptions(path=str(folder / "outbox.sqlite"), retry_s=0.05)
sent, reasons = [], 0
with Publisher(outbox, [sink], retry_max_s=0.05) as publisher:
    for part in range(3):
        assert part or publisher.reason
        for number in range(50):
            event = camera_event("gate", "running", None, BEGIN + timedelta(seconds=len(sent)))
            publisher.publish(event)
            sent.append(event.id)
        assert pictures.keep(sent[-1], BEGIN, blank()) is None
        assert "open files" in pictures.status().reason
        until(lambda: part or publisher.status()[0].failing_since is not None)
        reasons += bool(publisher.reason) + bool(pictures.status().reason)
        for handle in held:
            os.close(handle)
        until(lambda: publisher.reason is None and publisher.status()[0].waiting == 0)
        assert pictures.keep(sent[-1], BEGIN, blank()) is not None
        held = exhaust()
    for handle in held:
        os.close(handle)
print(json.dumps({"sent": sent, "reasons": reasons}))
"""


def test_no_more_file_handles(tmp_path: Path, count: Count) -> None:
    """A process with 64 handles, all of them taken; it starts so, and it happens to it."""
    done = subprocess.run(
        [sys.executable, "-c", HANDLES, str(tmp_path)],
        capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    found = Counter(lines_of(tmp_path / "events.jsonl"))
    assert set(found) == set(said["sent"])
    twice = sum(number - 1 for number in found.values())
    lost = len(set(said["sent"]) - set(found))
    count("R11 file handles", limit=64, events=len(said["sent"]), lost=lost, twice=twice,
          degraded_with_reason=said["reasons"])  # fmt: skip


@pytest.mark.parametrize("hours", [1, -1])
def test_the_clock_is_set(tmp_path: Path, count: Count, hours: int) -> None:
    """The system's clock jumps while vehicles pass; tracks, ids and pictures must not mind."""
    told: list[Event] = []
    road, chance = Road(told.append), random.Random(0)
    now = BEGIN
    pictures = Pictures(PictureOptions(folder=str(tmp_path), keep_hours=2), now=lambda: now)
    for number in range(60):
        off = timedelta(hours=hours * (20 <= number < 40))
        now = BEGIN + off + timedelta(seconds=number)
        before = len(told)
        road.vehicle(chance.choice(PLATES), clock=off)
        for one in told[before:]:
            assert pictures.keep(one.id, one.time, blank()) is not None
        pictures.clean()
    assert [one.seen.text for one in told if one.seen is not None] == road.plates
    assert len({one.id for one in told}) == 60
    assert all(one.seen is not None and 0 <= one.seen.latency_ms < 1000 for one in told)
    # Retention of two hours outlives a step of one.
    assert len(list(tmp_path.rglob("*.jpg"))) == 60
    now = BEGIN + timedelta(hours=3, minutes=2)
    pictures.clean()
    assert len(list(tmp_path.rglob("*.jpg"))) == 0
    ids = {one.id for one in told}
    count(f"R11 clock {hours:+d} h", vehicles=60, events=len(told), distinct_ids=len(ids),
          pictures_deleted=pictures.status().deleted)  # fmt: skip


class Down:
    """A sink that takes nothing."""

    name = "down"

    def deliver(self, event_id: str, payload: bytes) -> None:
        raise DeliveryError("down")

    def interrupt(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.mark.parametrize("disk", ["works", "fails"])
def test_nobody_takes_events_for_long(tmp_path: Path, count: Count, full: bool, disk: str) -> None:
    """Bounded on disk and in memory; what goes is counted."""
    offered = 50_000 if full else 3_000
    most_bytes, memory_bytes = 256 << 10, 128 << 10
    folder = tmp_path / "outbox"
    if disk == "fails":
        folder.write_text("a file where the folder should be")
    outbox = OutboxOptions(
        path=str(folder / "events.sqlite"),
        max_bytes=most_bytes,
        memory_bytes=memory_bytes,
        power_safe=False,
    )
    publisher = Publisher(outbox, [Down()], retry_max_s=0.05)
    largest, rss_before = 0, 0.0
    with publisher:
        for number in range(offered):
            publisher.publish(event(number))
            if number == offered // 3:
                rss_before = rss_mb()
            if disk == "works" and number % 100 == 0:
                largest = max(largest, sum(f.stat().st_size for f in folder.iterdir()))
        grown_mb = rss_mb() - rss_before
        status = publisher.status()[0]
        assert (publisher.reason is None) == (disk == "works")
    assert status.waiting + status.dropped == offered
    assert 0 < status.waiting < offered
    # The file, half as large again at most, and a log of some megabytes.
    assert largest <= most_bytes * 1.5 + (6 << 20)
    assert grown_mb <= 10
    count(f"R11 nobody takes events, disk {disk}", offered=offered, waiting=status.waiting,
          dropped=status.dropped, largest_bytes=largest, bound_bytes=most_bytes,
          rss_grown_mb=round(grown_mb, 1))  # fmt: skip
