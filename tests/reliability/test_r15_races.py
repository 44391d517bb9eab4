"""R15: eight threads read, submit, reload and close at once: no wrong answer, no hang."""

from __future__ import annotations

import asyncio
import faulthandler
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from runtime import ClosedError, HeadlightError, QueueOptions, Reader, Result
from tests.engines import ENGINES, require
from tests.reliability.conftest import Count
from tests.reliability.swapping import FRAME, IMAGES, QUADS, Oracle

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(300)]

THREADS = 8
HANG_S = 60.0
Step = Callable[[Reader, int], Sequence[tuple[int, object]]]


class Shared:
    """The one reader of all threads, opened anew where one of them closed it."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders
        self._lock = threading.Lock()
        self._closed: set[int] = set()
        self.reader = self._open(0)

    def _open(self, index: int) -> Reader:
        return Reader.open(
            self.folders[index % len(self.folders)],
            max_batch=4,
            queue=QueueOptions(capacity=8, lanes=2, max_wait_ms=1),
            keep_scores=True,
        )

    def close(self, reader: Reader, index: int) -> None:
        with self._lock:
            if self.reader is not reader:
                return
            self.reader = self._open(index)
            self._closed.add(id(reader))
            self._kept = reader  # so that its id stays its own
        reader.close(drain_s=0.05 * (index % 3))

    def was_closed(self, reader: Reader) -> bool:
        return self.reader is not reader


def test_everything_at_once(tmp_path: Path, count: Count, full: bool) -> None:
    for package in ENGINES.values():
        require(package)
    oracle = Oracle()
    folders = [
        oracle.write(tmp_path / f"artifact-{version}", version, engine=engine)
        for version, engine in enumerate([*ENGINES, *ENGINES])
    ]
    shared = Shared(folders)
    ended = time.monotonic() + (20.0 if full else 3.0)
    counts: Counter[str] = Counter()
    wrong: list[str] = []

    def read(reader: Reader, index: int) -> Sequence[tuple[int, object]]:
        return [(index % 8, reader.read(IMAGES[index % 8]))]

    def read_many(reader: Reader, index: int) -> Sequence[tuple[int, object]]:
        return [*enumerate(reader.read_many(IMAGES))]

    def regions(reader: Reader, index: int) -> Sequence[tuple[int, object]]:
        return [*enumerate(reader.read_regions(FRAME, QUADS), len(IMAGES))]

    def submit(reader: Reader, index: int) -> Sequence[tuple[int, object]]:
        futures = [reader.submit(image, tag=place) for place, image in enumerate(IMAGES)]
        return [(place, outcome(future)) for place, future in enumerate(futures)]

    def coroutine(reader: Reader, index: int) -> Sequence[tuple[int, object]]:
        return [(index % 8, asyncio.run(reader.read_async(IMAGES[index % 8])))]

    def reload(reader: Reader, index: int) -> Sequence[tuple[int, object]]:
        reader.reload(folders[index % len(folders)], trial=False, minimum_version=0)
        return []

    def close(reader: Reader, index: int) -> Sequence[tuple[int, object]]:
        shared.close(reader, index)
        return []

    steps: list[Step] = [read, read_many, regions, submit, coroutine, reload, close]
    chances = np.asarray([0.3, 0.15, 0.15, 0.2, 0.1, 0.085, 0.015])

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        mine: Counter[str] = Counter()
        while time.monotonic() < ended:
            step = steps[random.choice(len(steps), p=chances)]
            reader = shared.reader
            try:
                answers = step(reader, int(random.integers(1000)))
                mine[step.__name__] += 1
            except HeadlightError as error:
                answers = [(0, error)]
            except BaseException as error:  # noqa: BLE001
                wrong.append(f"{step.__name__}: {error!r}")
                return
            for index, answer in answers:
                if isinstance(answer, HeadlightError):
                    # Only who closes a reader may end what others ask of it.
                    if shared.was_closed(reader):
                        mine["closed meanwhile"] += 1
                    else:
                        wrong.append(f"{step.__name__}: {answer!r}")
                elif oracle.right(answer, index):
                    mine["answers"] += 1
                else:
                    wrong.append(f"{step.__name__}: {answer}")
        counts.update(mine)

    faulthandler.dump_traceback_later(HANG_S, exit=True, file=sys.__stderr__)
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shared.reader.close()
    faulthandler.cancel_dump_traceback_later()
    assert not wrong, wrong[:5]
    # Closing is rare, and a short run on a busy machine may do without.
    assert all(counts[step.__name__] for step in steps if full or step is not close)
    lanes = [t for t in threading.enumerate() if t.name.startswith("headlight-lane")]
    assert not lanes
    count(
        "R15",
        threads=THREADS,
        mismatches=len(wrong),
        hangs=0,
        **{name.replace(" ", "_"): number for name, number in sorted(counts.items())},
    )


def outcome(future: object) -> Result | HeadlightError:
    try:
        return future.result(HANG_S)  # type: ignore[attr-defined, no-any-return]
    except HeadlightError as error:
        return error


def test_closed_means_closed(tmp_path: Path) -> None:
    require(ENGINES["onnx"])
    reader = Reader.open(Oracle().write(tmp_path / "artifact", 1))
    reader.close()
    with pytest.raises(ClosedError):
        reader.reload(tmp_path / "artifact")
