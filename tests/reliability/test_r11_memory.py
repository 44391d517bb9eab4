"""R11: what happens when there is no memory.

The address space of a running gateway is limited (RLIMIT_AS), so that allocations fail in it, as
they do where memory is not overcommitted. What asked for too much is refused and counted, all else
goes on, and it recovers. Where a container's or a service's limit is hit the kernel kills the
process instead, as test_r11_delivery.py does.
"""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.artifacts import TinyNetwork, write_artifact
from tests.cameras import encode, moving_picture
from tests.engines import require
from tests.gateway import ONE_CAMERA, ROOT, RunningGateway, require_gateway, write_pictures
from tests.reliability.conftest import Count
from tests.reliability.test_r11_resource_loss import lines_of, until

pytestmark = pytest.mark.reliability

_SPARE_BYTES = 20_000_000
_AT_ONCE = 12
CONFIG = (
    """
[model]
artifact = "{artifact}"
"""
    + ONE_CAMERA
    + """
[[json_lines]]
path = "{events}"

[serve]
port = 0
max_picture_mpx = 60
timeout_s = 25
"""
)


def config_in(folder: Path, events: str = "events.jsonl") -> Path:
    """Write a config with one camera, an artifact and pictures, unless they are there."""
    require_gateway()
    require("openvino")
    artifact, pictures = folder / "artifact", folder / "pictures"
    if not artifact.exists():
        write_artifact(artifact, TinyNetwork(), engine="openvino")
        write_pictures(pictures)
    path = folder / "gateway.toml"
    text = CONFIG.format(artifact=artifact, pictures=pictures, events=events)
    path.write_text(text, encoding="utf-8")
    return path


def large_picture() -> bytes:
    """Return a JPEG of 0.6 MB that takes 90 MB once decoded."""
    image = np.zeros((5000, 6000, 3), np.uint8)
    image[::500] = 255
    return encode(image)


def large_body() -> bytes:
    """Return a JPEG of 5.7 MB that takes 15 MB."""
    shape = (2200, 2200, 3)
    return encode(np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8))


def ask(url: str, picture: bytes) -> tuple[int, str]:
    """Return the status and the error, if any, of reading a picture."""
    request = urllib.request.Request(f"{url}/v1/read", data=picture)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, str(json.load(error)["error"])


def first_of(url: str, kind: str) -> dict[str, Any]:
    """Return what the gateway says of its first of ``cameras`` or ``sinks``."""
    with urllib.request.urlopen(f"{url}/status.json", timeout=30) as answer:
        status: dict[str, Any] = json.load(answer)[kind][0]
    return status


def camera_of(url: str) -> dict[str, Any]:
    return first_of(url, "cameras")


def await_more(url: str, counter: str, least: int) -> None:
    until(lambda: camera_of(url)[counter] >= least, 60)


def limit_memory(process: int, spare_bytes: int | None) -> None:
    """Let a process have so much more address space than it has while at rest; None: any."""
    size = resource.RLIM_INFINITY
    if spare_bytes is not None:
        pages = []
        for _ in range(100):  # a second, in which the camera's large picture comes and goes
            statm = Path(f"/proc/{process}/statm").read_text(encoding="ascii")
            pages.append(int(statm.split()[0]))
            time.sleep(0.01)
        size = min(pages) * resource.getpagesize() + spare_bytes
    resource.prlimit(process, resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))


def test_what_asks_for_too_much_is_refused(tmp_path: Path, count: Count, full: bool) -> None:
    config = config_in(tmp_path)
    picture, body, small = large_picture(), large_body(), encode(moving_picture(0))
    rounds = 5 if full else 1
    (tmp_path / "pictures" / "2-large.jpg").write_bytes(picture)
    with RunningGateway(config, tmp_path, watchdog_s=60) as gateway:
        gateway.wait_ready()
        url, process = gateway.url, gateway.process.pid
        assert ask(url, picture) == (200, "")
        found = Counter[int]()
        for _ in range(rounds):
            before = camera_of(url)
            limit_memory(process, _SPARE_BYTES)
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                asked = [picture, body] * _AT_ONCE
                answers = list(pool.map(lambda data: ask(url, data), asked))
            assert {status for status, _ in answers[::2]} == {503}
            assert {status for status, _ in answers} == {200, 503}
            assert {text for _, text in answers} <= {"not enough memory for this request", ""}
            found.update(status for status, _ in answers)
            await_more(url, "decode_errors", before["decode_errors"] + 1)
            during = camera_of(url)
            assert ask(url, small) == (200, "")
            await_more(url, "frames", during["frames"] + 1)
            limit_memory(process, None)
            assert ask(url, picture) == (200, "")
            # The large one among the camera's pictures is shown again, too.
            refused = camera_of(url)["decode_errors"]
            await_more(url, "frames", camera_of(url)["frames"] + 2 * 5)
            assert camera_of(url)["decode_errors"] == refused
        assert gateway.end() == 0
        log = gateway.log.read_text(encoding="utf-8")
    assert "Traceback" not in log
    events = lines_of(tmp_path / "events.jsonl")
    assert len(set(events)) == len(events) > 0
    count("R11 no memory for requests", rounds=rounds, spare_mb=_SPARE_BYTES / 1e6,
          asked=found.total(), answered=found[200], refused_503=found[503],
          frames_refused=refused, exit_code=0)  # fmt: skip


def kept_in(outbox: Path) -> set[str]:
    """Return the ids in an outbox that nobody has open."""
    with closing(sqlite3.connect(f"file:{outbox}?mode=ro", uri=True)) as store:
        return {str(row[0]) for row in store.execute("SELECT id FROM event")}


def test_a_thread_without_memory_ends_the_gateway(tmp_path: Path, count: Count) -> None:
    """All of it ends, with exit code 1, and the next one tells what waited."""
    (tmp_path / "away").write_text("a file where the folder should be")
    program = [str(ROOT / "tests" / "reliability" / "starving_gateway.py")]
    config = config_in(tmp_path, "away/events.jsonl")
    with RunningGateway(config, tmp_path, program=program, watchdog_s=60) as gateway:
        gateway.wait_ready()
        until(lambda: first_of(gateway.url, "sinks")["waiting"] > 0)
        (tmp_path / "starve").touch()
        began_s = time.monotonic()
        assert gateway.process.wait(30) == 1
        ended_s = time.monotonic() - began_s
        log = gateway.log.read_text(encoding="utf-8")
    assert "error: a thread ended by an error" in log
    assert "MemoryError" in log
    kept = kept_in(tmp_path / "events.sqlite")
    (tmp_path / "notify").unlink()
    with RunningGateway(config_in(tmp_path), tmp_path, watchdog_s=60) as gateway:
        gateway.wait_ready()
        assert gateway.end() == 0
    told = lines_of(tmp_path / "events.jsonl")
    assert kept <= set(told)
    count("R11 no memory for a thread", ended_s=round(ended_s, 1), exit_code=1, events=len(kept),
          lost=len(kept - set(told)), twice=len(told) - len(set(told)))  # fmt: skip


STARVED = """
import json, logging, sys
from datetime import timedelta
import _testcapi
from runtime.gateway.events.event import camera_event
from runtime.gateway.events.outbox import Outbox, OutboxOptions
from tests.painted import BEGIN

outbox = Outbox(OutboxOptions(path=sys.argv[1], power_safe=False), ["sink"])
told, got, failures, calm = [], [], 0, 0

def starved(number, work):
    global failures, calm
    # After so many of Python's own allocations one fails.
    _testcapi.set_nomemory(number, number + 1)
    try:
        result = work()
        _testcapi.remove_mem_hooks()
        calm += 1
        return result
    except MemoryError:
        _testcapi.remove_mem_hooks()
        failures, calm = failures + 1, 0
        return work()

def hand_out(number):
    for row in starved(number, lambda: outbox.pending("sink", 8)):
        got.append(row.id)
        starved(number, lambda: outbox.taken("sink", row.seq))
    starved(number, outbox.save)

number = 0
while calm < 100:
    event = camera_event("gate", "running", "x" * 100, BEGIN + timedelta(seconds=number))
    payload = event.to_json()
    starved(number, lambda: outbox.add(event.id, payload))
    told.append(event.id)
    hand_out(number)
    number += 1
assert outbox.reason is None
hand_out(10**6)
print(json.dumps({"told": told, "got": got, "failures": failures, "left": outbox.waiting("sink")}))
"""


def test_one_allocation_after_another_fails(tmp_path: Path, count: Count) -> None:
    """In each step of the outbox, whoever got MemoryError asks once more."""
    pytest.importorskip("_testcapi", reason="this Python was built without its test modules")
    done = subprocess.run(
        [sys.executable, "-c", STARVED, str(tmp_path / "outbox.sqlite")],
        capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    told, got = said["told"], Counter(said["got"])
    assert said["failures"] > 0
    assert said["left"] == 0
    assert set(got) == set(told)
    count("R11 no memory in the outbox", allocations_failed=said["failures"], events=len(told),
          lost=len(set(told) - set(got)), twice=sum(got.values()) - len(got))  # fmt: skip
