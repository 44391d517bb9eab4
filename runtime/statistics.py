"""What a reader did since it was opened, in memory that does not grow."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Final

__all__ = ["Counters", "Durations", "Histogram", "Stats"]

_SUB_BITS: Final = 3
_SUB: Final = 1 << _SUB_BITS
_LARGEST_BITS: Final = 44
"""Some 5 hours in nanoseconds; longer durations count as this."""
_LARGEST_SHIFT: Final = _LARGEST_BITS - _SUB_BITS - 1
_LARGEST_NS: Final = (1 << _LARGEST_BITS) - 1


@dataclass(frozen=True, slots=True)
class Durations:
    """Percentiles of durations; upper bounds, at most 12.5 % too large. 0 where there were none."""

    count: int = 0
    p50_ns: int = 0
    p90_ns: int = 0
    p99_ns: int = 0
    max_ns: int = 0


class Histogram:
    """Counts of durations in 8 buckets per power of two; some 340 numbers whatever it is told.

    The buckets are those of HdrHistogram with 3 bits of precision. Not locked.
    """

    __slots__ = ("_counts", "_largest_ns")

    def __init__(self) -> None:
        self._counts = [0] * ((_LARGEST_BITS - _SUB_BITS + 2) * _SUB)
        self._largest_ns = 0

    def add(self, duration_ns: int) -> None:
        """Count a duration >= 0."""
        # Comparisons, because max and min take longer than all the rest.
        if duration_ns > self._largest_ns:
            self._largest_ns = duration_ns
        shift = duration_ns.bit_length() - _SUB_BITS - 1
        if shift < 0:
            shift = 0
        elif shift > _LARGEST_SHIFT:
            shift, duration_ns = _LARGEST_SHIFT, _LARGEST_NS
        self._counts[shift * _SUB + (duration_ns >> shift)] += 1

    def read(self) -> Durations:
        """Return the percentiles so far."""
        total = sum(self._counts)
        p50_ns, p90_ns, p99_ns = (self._mark(total * percent // 100) for percent in (50, 90, 99))
        return Durations(total, p50_ns, p90_ns, p99_ns, self._largest_ns)

    def _mark(self, rank: int) -> int:
        """Return the upper bound of the bucket that holds the duration of this rank, from 0."""
        seen = 0
        for index, count in enumerate(self._counts):
            seen += count
            if seen > rank:
                shift = max(0, index // _SUB - 1)
                upper = ((index - shift * _SUB + 1) << shift) - 1
                return min(upper, self._largest_ns)
        return 0


@dataclass(frozen=True, slots=True)
class Stats:
    """What a reader did since it was opened."""

    images: int = 0
    """Images handed in and done with; each became exactly one of the next six."""
    answered: int = 0
    bad_images: int = 0
    engine_failures: int = 0
    dropped: int = 0
    """Because the queue was full."""
    expired: int = 0
    """Not answered before their deadline."""
    cancelled: int = 0
    """By the caller, or because the reader was closed."""
    accepted: int = 0
    """Of those answered."""
    engine_calls: int = 0
    prepare_ns: int = 0
    engine_ns: int = 0
    decode_ns: int = 0
    waiting: int = 0
    """Requests in the queue now."""
    deepest: int = 0
    """Most requests that ever waited at a time."""
    batch_sizes: Mapping[int, int] = field(default_factory=dict)
    """Images of an engine call to number of such calls."""
    latency: Durations = field(default_factory=Durations)
    """Per answered image: from call or submit to answer."""
    engine: Durations = field(default_factory=Durations)
    """Per engine call."""
    queue: Durations = field(default_factory=Durations)
    """Per answered image that was submitted: from submit to the engine call."""


_COUNTED: Final = tuple(f.name for f in fields(Stats) if f.type == "int")


class Counters:
    """Collects what ``Stats`` shows; any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(_COUNTED, 0)
        self._batch_sizes: dict[int, int] = {}
        self._latency, self._engine, self._queue = Histogram(), Histogram(), Histogram()

    def count(self, outcome: str, images: int = 1) -> None:
        """Count images that ended without an answer.

        Args:
            outcome: The field of ``Stats`` that they are.
            images: How many.
        """
        with self._lock:
            self._counts["images"] += images
            self._counts[outcome] += images

    def count_answers(
        self,
        latencies_ns: Sequence[int],
        *,
        accepted: int,
        prepare_ns: int,
        queued_ns: Sequence[int] = (),
    ) -> None:
        """Count answered images.

        Args:
            latencies_ns: One per image.
            accepted: How many of them were accepted.
            prepare_ns: What preparing them took, all together.
            queued_ns: How long each waited, if they were submitted.
        """
        with self._lock:
            counts = self._counts
            counts["images"] += len(latencies_ns)
            counts["answered"] += len(latencies_ns)
            counts["accepted"] += accepted
            counts["prepare_ns"] += prepare_ns
            for duration_ns in latencies_ns:
                self._latency.add(duration_ns)
            for duration_ns in queued_ns:
                self._queue.add(duration_ns)

    def count_call(self, batch: int, engine_ns: int, decode_ns: int) -> None:
        """Count an engine call of ``batch`` images."""
        with self._lock:
            counts = self._counts
            counts["engine_calls"] += 1
            counts["engine_ns"] += engine_ns
            counts["decode_ns"] += decode_ns
            self._batch_sizes[batch] = self._batch_sizes.get(batch, 0) + 1
            self._engine.add(engine_ns)

    def read(self, *, waiting: int, deepest: int) -> Stats:
        """Return all of it, with what the queue says of itself."""
        with self._lock:
            return Stats(
                **{**self._counts, "waiting": waiting, "deepest": deepest},
                batch_sizes=dict(sorted(self._batch_sizes.items())),
                latency=self._latency.read(),
                engine=self._engine.read(),
                queue=self._queue.read(),
            )
