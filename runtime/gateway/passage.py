"""One vehicle on its way past a camera: where it was, and what was read of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.results import Result
from runtime.schema import Schema
from runtime.voting import Track

from .finding import Region

__all__ = ["Passage", "Read", "Sighting", "contradicts"]

_LEAST_WEIGHT: Final = 0.01


class Sighting(NamedTuple):
    """One region of one frame, read."""

    result: Result
    region: Region
    place: int
    """Which of the frame's regions it is."""
    frame: int
    """Number of the frame."""
    arrived_ns: int
    """When the frame arrived, on a clock that only grows."""
    arrived: datetime
    """The same, UTC."""


class Read(NamedTuple):
    """What was read of a passage."""

    answer: Result
    """What all sightings together say; of an earlier artifact until the present one has read it."""
    schema: Schema
    """Of that artifact."""
    first: Sighting
    last: Sighting


@dataclass(slots=True)
class Passage:
    """One vehicle on its way past a camera, in memory that does not grow."""

    box: npt.NDArray[np.float64]
    """Left, top, right, bottom where it was last seen, px."""
    seen_s: float
    """When it was last seen."""
    speed: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(4))
    """Of the box' sides, px/s."""
    votes: Track | None = None
    """Evidence of the artifact in use."""
    read: Read | None = None
    """None until it was read."""
    same: int = 0
    """Sightings in a row after which the answer was the same."""
    frames: int = 0
    """Sightings that were added up."""
    announced: bool = False
    doubts: list[Sighting] = field(default_factory=list)
    """Sightings in a row that contradict it."""
    best: float = -1.0
    """Confidence of the sighting that ``view`` is of."""
    view: npt.NDArray[np.uint8] | None = None
    """The region with its surroundings, (H, W, 3) BGR, where it was read best."""

    def expected(self, now_s: float) -> npt.NDArray[np.float64]:
        """Return where its box should be by now."""
        return self.box + self.speed * (now_s - self.seen_s)

    def move(self, box: npt.NDArray[np.float64], now_s: float) -> None:
        """Note where it is seen."""
        elapsed_s = now_s - self.seen_s
        # Both sides by the mean of their speeds: noise in the size must not make it grow.
        if elapsed_s > 0:
            shift = ((box - self.box).reshape(2, 2).mean(axis=0)) / elapsed_s
            self.speed = (self.speed + np.tile(shift, 2)) / 2
        self.box, self.seen_s = box, now_s

    def add(self, sighting: Sighting, schema: Schema, begin: Callable[[], Track]) -> None:
        """Add up one sighting that does not contradict it.

        Args:
            sighting: Of the artifact in use.
            schema: Of that artifact.
            begin: Makes empty votes of that artifact.

        Raises:
            HeadlightError: the sighting's result cannot be added.
        """
        self.doubts.clear()
        if self.votes is None or not self.votes.takes(sighting.result):
            self.votes, self.same = begin(), 0
        elif self.announced:  # nothing that it says from now on is told
            return
        weight = max(sighting.region.confidence, _LEAST_WEIGHT)
        self.votes.add(sighting.result, weight=weight)
        answer = self.votes.answer() or sighting.result
        before = self.read
        as_before = before is not None and self.same and _said(answer) == _said(before.answer)
        self.same = self.same + 1 if as_before else 1
        self.read = Read(answer, schema, before.first if before else sighting, sighting)
        self.frames += 1


def _said(result: Result) -> object:
    """Return what a result says, without how sure it is."""
    raw = [reading.raw_text for reading in result.readings.values()]
    return raw or [answer.labels for answer in result.heads.values()]


def contradicts(one: Result, other: Result, schema: Schema, sure: float) -> bool:
    """Whether two results name different characters of a reading, and both for sure.

    Args:
        one: A result.
        other: Another one, of the same artifact.
        schema: Theirs. Without readings nothing contradicts: a colour is no identity.
        sure: Calibrated probability from which on a character is sure.
    """
    for name in (name for reading in schema.readings for name in reading.heads):
        mine, theirs = one.heads[name], other.heads[name]
        if mine.label != theirs.label and min(mine.confidence, theirs.confidence) >= sure:
            return True
    return False
