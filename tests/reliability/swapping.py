"""Artifacts that can be told apart by their answers, and callers that check every answer.

Each version has another network, some another input size. An answer that names a version must have
the scores that numpy computes for that version; anything else is wrong: mixed, stale or fitted to
another size.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from runtime import HeadlightError, InputSpec, Reader, Result, box_quads, rectify
from runtime.manifest import ArtifactName
from runtime.preprocess import fit
from tests.artifacts import TinyNetwork, write_artifact

__all__ = ["FRAME", "IMAGES", "QUADS", "Oracle", "Traffic"]

NETWORKS: Final = (
    TinyNetwork(seed=10),
    TinyNetwork(seed=11, spec=InputSpec(height=24, width=48)),
    TinyNetwork(seed=12),
    TinyNetwork(seed=13, spec=InputSpec(height=16, width=48)),
)
IMAGES: Final = tuple(
    np.random.default_rng(seed).integers(0, 256, (12 + 3 * seed, 40 + 2 * seed, 3), np.uint8)
    for seed in range(8)
)
FRAME: Final = np.random.default_rng(99).integers(0, 256, (90, 160, 3), np.uint8)
QUADS: Final = box_quads(np.asarray([[0, 0, 60, 30], [40, 20, 150, 80]]))
_TOLERANCE: Final = 2e-3
"""Engines differ from numpy by some 1e-5, the networks from each other by 1."""
_WAIT_S: Final = 60.0


class Oracle:
    """Writes artifacts and knows what each of them answers."""

    def __init__(self) -> None:
        self._expected: dict[ArtifactName, list[dict[str, Any]]] = {}

    def write(self, folder: Path, version: int, *, engine: str = "onnx") -> Path:
        """Write the artifact of a version."""
        network = NETWORKS[version % len(NETWORKS)]
        manifest = write_artifact(folder, network, engine=engine, version=version)
        crops = [fit(image, network.spec) for image in IMAGES]
        crops += [rectify(FRAME, quad, network.spec) for quad in QUADS]
        self._expected[manifest.name] = [network.logits(crop[None]) for crop in crops]
        return folder

    def right(self, result: object, index: int) -> bool:
        """Whether a result is what the artifact that it names says of an image.

        Args:
            result: Of a reader that keeps scores.
            index: Which of ``IMAGES``; behind them come ``QUADS`` of ``FRAME``.
        """
        if not isinstance(result, Result) or result.artifact not in self._expected:
            return False
        expected = self._expected[result.artifact][index]
        return result.scores is not None and all(
            np.allclose(result.scores[name], scores[0], atol=_TOLERANCE)
            for name, scores in expected.items()
        )


@dataclass(slots=True)
class Tally:
    """What callers saw; one per thread."""

    answered: int = 0
    failed: list[str] = field(default_factory=list)
    wrong: int = 0
    seen: dict[ArtifactName, int] = field(default_factory=dict)
    latencies_s: list[float] = field(default_factory=list)


class Traffic:
    """Threads that ask a reader at a steady rate, in every way there is, until told to stop.

    Args:
        reader: What to ask; it keeps scores.
        oracle: Knows what is right.
        rate: Requests a second, of all threads together.
        threads: How many.
    """

    def __init__(
        self, reader: Callable[[], Reader], oracle: Oracle, *, rate: float, threads: int = 3
    ) -> None:
        self._reader = reader
        self._oracle = oracle
        self._interval_s = threads / rate
        self._ended = threading.Event()
        self._tallies = [Tally() for _ in range(threads)]
        self._threads = [
            threading.Thread(target=self._run, args=(index, tally), daemon=True)
            for index, tally in enumerate(self._tallies)
        ]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(_WAIT_S)
        assert not any(thread.is_alive() for thread in self._threads), "a caller hangs"

    def _run(self, index: int, tally: Tally) -> None:
        due_s = time.monotonic() + index * self._interval_s / len(self._threads)
        turn = index
        while not self._ended.wait(max(0.0, due_s - time.monotonic())):
            due_s += self._interval_s
            turn += 1
            began_s = time.monotonic()
            try:
                answers = self._ask(turn)
            except HeadlightError as error:
                tally.failed.append(f"{type(error).__name__}: {error}")
                continue
            tally.latencies_s.append(time.monotonic() - began_s)
            self._judge(answers, tally)

    def _ask(self, turn: int) -> Sequence[tuple[int, object]]:
        """Return image indices and what was said of each."""
        reader, index = self._reader(), turn % len(IMAGES)
        kind = turn % 4
        if kind == 0:
            return [(index, reader.read(IMAGES[index]))]
        if kind == 1:
            return [*enumerate(reader.read_many(IMAGES))]
        if kind == 2:
            return [*enumerate(reader.read_regions(FRAME, QUADS), len(IMAGES))]
        futures: list[Future[Result]] = [reader.submit(image) for image in IMAGES]
        return [(place, future.result(_WAIT_S)) for place, future in enumerate(futures)]

    def _judge(self, answers: Sequence[tuple[int, object]], tally: Tally) -> None:
        for index, answer in answers:
            if isinstance(answer, HeadlightError):
                tally.failed.append(f"{type(answer).__name__}: {answer}")
            elif self._oracle.right(answer, index):
                tally.answered += 1
                name = getattr(answer, "artifact", None)
                assert name is not None
                tally.seen[name] = tally.seen.get(name, 0) + 1
            else:
                tally.wrong += 1

    def seen(self, name: ArtifactName) -> int:
        """Return how many right answers came from an artifact so far."""
        return sum(tally.seen.get(name, 0) for tally in self._tallies)

    @property
    def artifacts(self) -> int:
        """How many artifacts answered."""
        return len({name for tally in self._tallies for name in tally.seen})

    @property
    def answered(self) -> int:
        """Right answers."""
        return sum(tally.answered for tally in self._tallies)

    @property
    def wrong(self) -> int:
        """Answers that are not what their artifact says."""
        return sum(tally.wrong for tally in self._tallies)

    @property
    def failed(self) -> list[str]:
        """Errors instead of answers."""
        return [error for tally in self._tallies for error in tally.failed]

    def slowest_ms(self, share: float) -> float:
        """Return a percentile of the requests' latency in milliseconds."""
        latencies_s = [s for tally in self._tallies for s in tally.latencies_s]
        return float(np.quantile(latencies_s, share)) * 1e3
