"""The reader's ways of reading as loops that run for a while: one by one, submitted, in lists."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from runtime.arrays import Image
from runtime.errors import ConfigError, EngineError, HeadlightError
from runtime.reader import Reader
from runtime.results import Result

from .rates import calls_until

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["Known", "Lists", "Reads", "Submits"]

Labels: TypeAlias = Sequence[tuple[str, ...]]
"""The labels that hold, per head."""


@dataclass(frozen=True, slots=True)
class Known:
    """Crops, and what a reader answers to them, alone as in a batch."""

    crops: Sequence[Image]
    """(H, W, 3) uint8 each."""
    labels: Sequence[Labels]

    @classmethod
    def of(cls, reader: Reader, crops: Sequence[Image]) -> Known:
        """Read crops, and leave out those whose answer depends on the batch.

        Their scores lie so close together that either answer is as good.

        Raises:
            HeadlightError: a crop cannot be read.
            ConfigError: no crop is left.
        """
        alone = [_labels(reader.read(crop)) for crop in crops]
        together = [_labels(answer) for answer in reader.read_many(crops)]
        kept = [place for place, labels in enumerate(alone) if labels == together[place]]
        if not kept:
            raise ConfigError(f"none of {len(crops)} crops is answered alone as in a batch")
        return cls([crops[place] for place in kept], [alone[place] for place in kept])


def _labels(answer: Result | HeadlightError) -> Labels:
    if isinstance(answer, HeadlightError):
        raise answer
    return [head.labels for head in answer.heads.values()]


class Reads:
    """``Reader.read``, crop after crop; a ``Worker``.

    Args:
        reader: Open as long as this is used.
        known: What to read.
    """

    def __init__(self, reader: Reader, known: Known) -> None:
        self._reader = reader
        self._known = known
        self._answers: list[tuple[int, Result | HeadlightError]] = []
        self._timings: list[tuple[int, int, int]] = []

    def __call__(self, until_s: float) -> int:
        """Read until then."""
        answers, crops, read = self._answers, self._known.crops, self._reader.read
        for _ in calls_until(until_s):
            place = len(answers) % len(crops)
            answers.append((place, read(crops[place])))
        return len(answers)

    def check(self) -> None:
        """Compare all answers since the last check with what is known.

        Raises:
            EngineError: one is another, or an error.
        """
        for place, answer in self._answers:
            if _labels(answer) != self._known.labels[place] or isinstance(answer, HeadlightError):
                raise EngineError(
                    f"crop {place} was answered otherwise within the timed run than before it; "
                    "the run is void"
                )
            times = answer.timings_ns
            self._timings.append((times.prepare, times.engine, times.decode))
        self._answers.clear()

    def stages_us(self) -> Mapping[str, float]:
        """Return the median of each stage of the calls that were checked, microseconds."""
        medians = np.median(np.array(self._timings), axis=0) / 1e3
        return dict(zip(("prepare", "engine", "decode"), medians.tolist(), strict=True))


class Submits(Reads):
    """``Reader.submit``, with ``ahead`` requests that are not yet answered."""

    def __init__(self, reader: Reader, known: Known, ahead: int) -> None:
        super().__init__(reader, known)
        self._ahead = ahead

    def __call__(self, until_s: float) -> int:
        """Read until then."""
        crops, submit = self._known.crops, self._reader.submit
        waiting: deque[tuple[int, Future[Result]]] = deque()
        count = 0
        for _ in calls_until(until_s):
            place = count % len(crops)
            waiting.append((place, submit(crops[place])))
            count += 1
            if len(waiting) == self._ahead:
                done, future = waiting.popleft()
                self._answers.append((done, future.result()))
        self._answers += [(place, future.result()) for place, future in waiting]
        return count


class Lists(Reads):
    """``Reader.read_many``, ``batch`` crops at a time."""

    def __init__(self, reader: Reader, known: Known, batch: int) -> None:
        super().__init__(reader, known)
        places = np.arange(batch * max(1, len(known.crops) // batch)) % len(known.crops)
        self._lists: Sequence[Sequence[int]] = places.reshape(-1, batch).tolist()

    def __call__(self, until_s: float) -> int:
        """Read until then."""
        crops, read_many = self._known.crops, self._reader.read_many
        count = 0
        for call in calls_until(until_s):
            places = self._lists[call % len(self._lists)]
            answers = read_many([crops[place] for place in places])
            self._answers += zip(places, answers, strict=True)
            count += len(places)
        return count
