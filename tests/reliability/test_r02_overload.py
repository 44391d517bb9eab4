"""R2: three times what the engine can carry; everything accounted for, and soon well again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.queue import ON_FULL, QueueOptions
from runtime.reader import Reader
from runtime.session import SessionOptions, open_session
from runtime.trust import load_manifest
from tests.artifacts import TinyNetwork, random_images
from tests.engines import require
from tests.reliability.conftest import Count
from tests.reliability.leaking import memory_kib
from tests.reliability.load import SlowSession, offer, peak_per_s

ENGINE_S = 0.004
CAPACITY = 16
DEADLINE_MS = 50.0
RECOVERY_S = 2.0
GROWTH_MB = 10.0


@pytest.mark.reliability
@pytest.mark.usefixtures("small_heap")
@pytest.mark.parametrize("on_full", [way for way in ON_FULL if way != "block"])
def test_overload(
    make_artifact: Callable[..., Path],
    network: TinyNetwork,
    full: bool,
    count: Count,
    on_full: str,
) -> None:
    require("onnxruntime")
    images = random_images(64)
    artifact = make_artifact(network)
    manifest = load_manifest(artifact)
    session = SlowSession(open_session(artifact, manifest, SessionOptions()), ENGINE_S)
    queue = QueueOptions(capacity=CAPACITY, on_full=on_full)
    deepest, calm_s = 0, 1.0 if full else 0.5
    with Reader(manifest, session, max_batch=1, queue=queue) as reader:

        def watch() -> None:
            nonlocal deepest
            deepest = max(deepest, reader.stats().waiting)

        peak = peak_per_s(reader, images, for_s=0.3)
        calm = offer(reader, images, rate=peak / 2, duration_s=calm_s)
        before_kib, _ = memory_kib()
        began = reader.stats()
        storm = offer(
            reader, images, rate=3 * peak, duration_s=10 if full else 0.5, seed=1, watch=watch,
            deadline_ms=DEADLINE_MS,
        )  # fmt: skip
        grown_mb = (memory_kib()[0] - before_kib) / 1024
        ended = reader.stats()
        overloaded = reader.health()
        time.sleep(RECOVERY_S - calm_s if full else 0.1)
        # A short run shares the machine: no more than the queue can hold when it stalls.
        after_s = calm_s if full else CAPACITY / (peak / 2)
        after = offer(reader, images, rate=peak / 2, duration_s=after_s, seed=2)
    counted = {
        name: getattr(ended, name) - getattr(began, name)
        for name in ("images", "answered", "dropped", "expired")
    }
    count(
        "R2 overload",
        on_full=on_full,
        peak_per_s=round(peak),
        offered=storm.offered,
        answered=len(storm.answered),
        dropped=storm.dropped,
        expired=storm.expired,
        lost=storm.lost,
        deepest=ended.deepest,
        grown_mb=round(grown_mb, 1),
        p99_before_ms=round(calm.percentile_ms(99), 1),
        p99_after_ms=round(after.percentile_ms(99), 1),
    )
    assert storm.lost == storm.failed == 0
    assert storm.dropped + storm.expired > storm.offered / 3
    assert counted == {
        "images": storm.offered,
        "answered": len(storm.answered),
        "dropped": storm.dropped,
        "expired": storm.expired,
    }
    assert max(deepest, ended.deepest) <= CAPACITY
    # Futures and results of the run are this test's own, 2 kB a request.
    assert grown_mb <= GROWTH_MB + storm.offered * 0.002
    spent = [result.timings_ns for result in storm.answered.values()]
    assert all(t.queue + t.engine + t.decode <= DEADLINE_MS * 1e6 for t in spent)
    assert overloaded.state == "overloaded"
    assert len(after.answered) == after.offered >= CAPACITY
    if full:
        # What the engine can answer is answered, and in time.
        assert len(storm.answered) >= 0.6 * peak * 10
        assert after.percentile_ms(99) <= max(60.0, 2 * calm.percentile_ms(99))
