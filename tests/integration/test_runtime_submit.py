"""Submitted images on real engines: warmed up, batched, by several lanes and threads."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import numpy as np

from runtime import OverloadError, QueueOptions, Reader, Result
from runtime.regions import box_quads

CROPS = [
    np.random.default_rng(seed).integers(0, 256, (10 + 7 * seed, 60 - 5 * seed, 3), np.uint8)
    for seed in range(5)
]


def test_lanes_answer_what_read_answers(tiny_artifact: Path) -> None:
    options = QueueOptions(lanes=2, max_wait_ms=2)
    with Reader.open(tiny_artifact, max_batch=4, queue=options, keep_scores=True) as reader:
        expected = [reader.read(crop) for crop in CROPS]
        futures = [reader.submit(CROPS[i % 5], tag=i) for i in range(40)]
        for index, future in enumerate(futures):
            result, alone = future.result(30), expected[index % 5]
            assert (result.tag, result.text) == (index, alone.text)
            assert abs(result.confidence - alone.confidence) < 1e-4
            assert result.scores is not None
        track = reader.track()
        for future in futures[::5]:
            track.add(future.result())
        answer = track.answer()
        assert answer is not None
        assert answer.text == expected[0].text
        assert reader.stats().images == 45


def test_regions_answer_as_crops(tiny_artifact: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)
    boxes = np.asarray([[0, 0, 40, 20], [30, 10, 150, 80], [100, 50, 160, 90]])
    with Reader.open(tiny_artifact) as reader:
        found = reader.read_regions(frame, box_quads(boxes))
        for (left, top, right, bottom), result in zip(boxes, found, strict=True):
            alone = reader.read(frame[top:bottom, left:right])
            assert isinstance(result, Result)
            assert result.text == alone.text


def test_coroutines(tiny_artifact: Path) -> None:
    async def read_all(reader: Reader) -> list[Result]:
        return await asyncio.gather(*(reader.read_async(crop) for crop in CROPS * 4))

    with Reader.open(tiny_artifact, queue=QueueOptions(capacity=3)) as reader:
        expected = [reader.read(crop).text for crop in CROPS] * 4
        assert [result.text for result in asyncio.run(read_all(reader))] == expected


def test_overload_and_everything_else_at_once(tiny_artifact: Path) -> None:
    """Two seconds of more than the engine can do: nothing is lost, nothing is wrong."""
    options = QueueOptions(capacity=8, on_full="drop_oldest", deadline_ms=50, lanes=2)
    wrong: list[object] = []
    counts = {"answered": 0, "lost": 0}
    lock = threading.Lock()
    with Reader.open(tiny_artifact, max_batch=4, queue=options) as reader:
        expected = [reader.read(crop).text for crop in CROPS]
        until = time.monotonic() + 2

        def settle(index: int, future: object) -> None:
            try:
                text = future.result().text  # type: ignore[attr-defined]
            except OverloadError:
                with lock:
                    counts["lost"] += 1
            else:
                with lock:
                    counts["answered"] += 1
                if text != expected[index]:
                    wrong.append(text)

        def offer() -> int:
            offered = 0
            while time.monotonic() < until:
                index = offered % 5
                future = reader.submit(CROPS[index])
                future.add_done_callback(lambda f, i=index: settle(i, f))  # type: ignore[misc]
                offered += 1
            return offered

        def read() -> None:
            while time.monotonic() < until:
                texts = [reader.read(CROPS[2]).text, *map(_text, reader.read_many(CROPS))]
                if texts != [expected[2], *expected]:
                    wrong.append(texts)

        totals: list[int] = []
        threads = [threading.Thread(target=lambda: totals.append(offer())) for _ in range(3)]
        threads += [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    stats = reader.stats()
    assert not wrong
    assert counts["answered"] + counts["lost"] == sum(totals)
    assert stats.dropped + stats.expired == counts["lost"] > 0
    assert stats.engine_failures == stats.cancelled == stats.bad_images == 0
    assert stats.deepest <= 8


def _text(read: object) -> object:
    assert isinstance(read, Result)
    return read.text
