"""Which regions of successive frames show one vehicle.

A region goes on with the passage whose box, moved on at its last speed, overlaps it most
(intersection over union, greedily from the best pair down, as Bochinski et al., "High-Speed
Tracking-by-Detection Without Using Image Information", AVSS 2017; with a handful of plates in a
frame, the optimal assignment differs only where boxes overlap each other). Plates are small and far
from each other, and move by more than their size from frame to frame, so that boxes are widened
before (Yang et al., "Hard to Track Objects with Irregular Motions and Similar Appearances? Make It
Easier by Buffering the Matching Space", WACV 2023). A fixed region has one passage at a time.

Where a region is does not tell one vehicle from the next that stops at the same place, or takes its
place within a frame. The reading does: a passage ends when ``change_frames`` readings in a row say,
each for sure, another text than the passage, and the same one as each other. A single one is taken
for a misreading and left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from runtime.errors import ConfigError
from runtime.results import Result
from runtime.schema import Schema

from .finding import Region
from .passage import Passage, Sighting, contradicts

__all__ = ["Tracker", "TrackingOptions", "Verdict", "iou"]

_MOST_TRACKS: Final = 4096

Verdict: TypeAlias = Literal["same", "doubt", "another"]
"""Of a sighting: it goes on with the passage, contradicts it, or proves another vehicle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingOptions:
    """How long a vehicle is followed, and what tells it from the next.

    Raises:
        ConfigError: a value out of range.
    """

    lost_s: float = 2.0
    """A track ends when it was not seen for longer, in (0, 60], s; longer than from one frame to
    the next, or every frame is a vehicle."""
    min_iou: float = 0.2
    """Least overlap of a region with where its track was expected, both widened, in (0, 1]."""
    reach: float = 0.5
    """By how much boxes are widened on each side for that, as a share of their size, in [0, 4]."""
    max_tracks: int = 64
    """Tracks at a time, 1 to 4096; regions that would begin more are not read."""
    presence: float = 0.3
    """Fixed regions are seen in every frame: one shows a vehicle where the confidence of its
    reading is at least this, in [0, 1]."""
    sure: float = 0.8
    """Two readings contradict each other at a character that both are so sure of, in (0.5, 1]."""
    change_frames: int = 2
    """Readings in a row that contradict a track and agree with each other begin another; 1 to
    32."""

    def __post_init__(self) -> None:
        if not (0 < self.lost_s <= 60 and 0 < self.min_iou <= 1 and 0 <= self.presence <= 1):
            raise ConfigError(
                "tracks: expected lost_s in (0, 60], min_iou in (0, 1] and presence in [0, 1], "
                f"got {self.lost_s}, {self.min_iou} and {self.presence}"
            )
        if not 0 <= self.reach <= 4:
            raise ConfigError(f"tracks: reach must be in [0, 4], got {self.reach}")
        if not (1 <= self.max_tracks <= _MOST_TRACKS and 1 <= self.change_frames <= 32):
            raise ConfigError(
                f"tracks: expected max_tracks 1 to {_MOST_TRACKS} and change_frames 1 to 32, got "
                f"{self.max_tracks} and {self.change_frames}"
            )
        if not 0.5 < self.sure <= 1:
            raise ConfigError(f"tracks: sure must be in (0.5, 1], got {self.sure}")


def iou(boxes: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return intersections over unions of boxes.

    Args:
        boxes: (N, 4) left, top, right, bottom.
        others: (M, 4).

    Returns:
        (N, M) in [0, 1].
    """
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=2)
    areas, other_areas = (np.prod(part[:, 2:] - part[:, :2], axis=1) for part in (boxes, others))
    union = areas[:, None] + other_areas[None] - common
    shares: npt.NDArray[np.float64] = common / np.maximum(union, 1e-9)
    return shares


class Tracker:
    """The passages of one camera; one thread at a time.

    Args:
        options: How long, and what tells vehicles apart.
        fixed: Whether regions are the same in every frame: the n-th region of a frame is then the
            n-th of the next.
    """

    def __init__(self, options: TrackingOptions, *, fixed: bool) -> None:
        self._options, self._fixed = options, fixed
        self._passages: dict[int, Passage] = {}
        self._next = 0
        self.overflows = 0
        """Regions that were left out because there were too many tracks."""

    def __len__(self) -> int:
        """Return how many passages there are."""
        return len(self._passages)

    def assign(self, regions: Sequence[Region], now_s: float) -> list[int | None]:
        """Return a key per region: of the passage that it goes on with, or of one that may begin.

        Args:
            regions: Of one frame.
            now_s: When it arrived.

        Returns:
            One per region, in order; None where too many passages are under way.
        """
        if self._fixed:
            return list(range(len(regions)))
        keys = list(self._passages)
        boxes = _boxes(regions)
        given: list[int | None] = [None] * len(regions)
        if keys and len(regions):
            expected = np.stack([self._passages[key].expected(now_s) for key in keys])
            reach = self._options.reach
            shares = iou(_widened(boxes, reach), _widened(expected, reach))
            while shares.max() >= self._options.min_iou:
                row, column = np.unravel_index(int(shares.argmax()), shares.shape)
                given[int(row)] = keys[int(column)]
                shares[row], shares[:, column] = -1, -1
        room = self._options.max_tracks - len(keys)
        for index, key in enumerate(given):
            if key is None and room > 0:
                given[index], self._next, room = self._next, self._next + 1, room - 1
            elif key is None:
                self.overflows += 1
        for index, key in enumerate(given):
            if key in self._passages:
                self._passages[key].move(boxes[index], now_s)
        return given

    def see(self, key: int, region: Region, now_s: float) -> Passage:
        """Return the passage of a key, which is seen now, and begins if there is none."""
        if key not in self._passages:
            self._passages[key] = Passage(_boxes([region])[0], now_s)
        elif self._fixed:
            self._passages[key].seen_s = now_s
        return self._passages[key]

    def present(self, result: Result) -> bool:
        """Whether a region shows a vehicle at all."""
        return not self._fixed or result.confidence >= self._options.presence

    def end(self, key: int) -> Passage:
        """End the passage of a key at once and return it."""
        return self._passages.pop(key)

    def end_lost(self, now_s: float) -> list[Passage]:
        """End passages that were not seen for too long, and return them."""
        lost = [
            key
            for key, passage in self._passages.items()
            if now_s - passage.seen_s > self._options.lost_s
        ]
        return [self._passages.pop(key) for key in lost]

    def end_all(self) -> list[Passage]:
        """End all passages and return them."""
        ended = list(self._passages.values())
        self._passages.clear()
        return ended

    def judge(self, passage: Passage, sighting: Sighting, schema: Schema) -> Verdict:
        """Tell whether a sighting shows the vehicle of a passage.

        One that contradicts the passage but is no proof yet is kept in ``passage.doubts``.
        """
        read, result, sure = passage.read, sighting.result, self._options.sure
        if read is None or read.answer.artifact != result.artifact:
            passage.doubts.clear()
            return "same"
        if not contradicts(read.answer, result, schema, sure):
            return "same"
        doubts = passage.doubts
        if any(contradicts(result, doubt.result, schema, sure) for doubt in doubts):
            doubts.clear()
        doubts.append(sighting)
        return "another" if len(doubts) >= self._options.change_frames else "doubt"


def _widened(boxes: npt.NDArray[np.float64], reach: float) -> npt.NDArray[np.float64]:
    more = reach * (boxes[:, 2:] - boxes[:, :2])
    return np.concatenate([boxes[:, :2] - more, boxes[:, 2:] + more], axis=1)


def _boxes(regions: Sequence[Region]) -> npt.NDArray[np.float64]:
    """Return upright boxes around regions, (N, 4) left, top, right, bottom."""
    quads = np.asarray([region.quad for region in regions], np.float64).reshape(-1, 4, 2)
    return np.concatenate([quads.min(axis=1), quads.max(axis=1)], axis=1)
