"""From a passage to its one event; privacy is applied here, before anything leaves."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from runtime.results import Result
from runtime.schema import Schema

from .events.event import Event, Seen, reading_id
from .passage import Passage, Read, Sighting
from .pictures import Pictures, jpeg, scaled_down
from .privacy import Privacy
from .serve.view import LatestRead

__all__ = ["THUMBNAIL_PX", "Announcer", "LatestReads"]

THUMBNAIL_PX: Final = 160
"""Longer sides of thumbnails, at most."""
_THUMBNAIL_QUALITY: Final = 75


class LatestReads:
    """The last readings of all cameras, in memory; any thread may call.

    Args:
        size: How many, >= 1.
    """

    def __init__(self, size: int = 50) -> None:
        self._lock = threading.Lock()
        self._reads: deque[LatestRead] = deque(maxlen=size)

    def add(self, read: LatestRead) -> None:
        """Add a reading, and forget the oldest if there are too many."""
        with self._lock:
            self._reads.append(read)

    def read(self) -> Sequence[LatestRead]:
        """Return all of them, newest first."""
        with self._lock:
            return list(reversed(self._reads))


class Announcer:
    """Makes the events of one camera and hands them on.

    Args:
        camera: Its name.
        emit: Takes events; the publisher's ``publish``.
        privacy: What may be told of texts.
        pictures: Where pictures are kept; None: nowhere.
        latest: For the status page; None: there is none.
        thumbnails: Whether ``latest`` gets small pictures, which stay in memory.
        clock_ns: The clock of the frames' ``arrived_ns``.
    """

    def __init__(
        self,
        camera: str,
        *,
        emit: Callable[[Event], None],
        privacy: Privacy,
        pictures: Pictures | None,
        latest: LatestReads | None,
        thumbnails: bool,
        clock_ns: Callable[[], int],
    ) -> None:
        self._camera, self._emit, self._privacy = camera, emit, privacy
        # A picture of a plate tells its text.
        self._pictures = pictures if privacy.pictures else None
        self._latest = latest
        self._thumbnails = thumbnails and latest is not None and privacy.pictures
        self._clock_ns = clock_ns

    @property
    def shows(self) -> bool:
        """Whether passages should keep a view of the vehicle."""
        return self._pictures is not None or self._thumbnails

    def announce(self, passage: Passage, read: Read, *, decided: str) -> int:
        """Tell of a passage and return the latency, ns.

        Args:
            passage: A vehicle.
            read: What was read of it.
            decided: ``stable`` or ``ended``.
        """
        first, last, answer = read.first, read.last, read.answer
        event_id = reading_id(self._camera, first.arrived, first.frame, first.place)
        picture = None
        if self._pictures is not None and passage.view is not None:
            picture = self._pictures.keep(event_id, last.arrived, passage.view)
        latency_ns = max(0, self._clock_ns() - last.arrived_ns)
        event = Event(
            id=event_id,
            kind="reading",
            camera=self._camera,
            time=last.arrived,
            seen=Seen(
                text=self._privacy.text(answer.text),
                confidence=answer.confidence,
                accepted=answer.accepted,
                heads=_heads(answer, read.schema),
                decided=decided,
                began=first.arrived,
                frames=passage.frames,
                quad=_corners(last),
                artifact=_artifact(answer),
                latency_ms=latency_ns / 1e6,
                picture=picture,
            ),
        )
        self._emit(event)
        passage.announced = True
        self._show(event, passage)
        return latency_ns

    def _show(self, event: Event, passage: Passage) -> None:
        seen, view = event.seen, passage.view
        passage.view = None  # it has served
        if self._latest is None or seen is None:
            return
        thumbnail = None
        if self._thumbnails and view is not None:
            thumbnail = jpeg(scaled_down(view, THUMBNAIL_PX), quality=_THUMBNAIL_QUALITY)
        self._latest.add(
            LatestRead(
                camera=event.camera,
                time=event.time,
                text=seen.text,
                confidence=seen.confidence,
                accepted=seen.accepted,
                heads={name: ", ".join(answer["labels"]) for name, answer in seen.heads.items()},
                latency_ms=seen.latency_ms,
                thumbnail=thumbnail,
            )
        )


def _heads(answer: Result, schema: Schema) -> Mapping[str, Mapping[str, Any]]:
    """Return what heads outside of readings say; the others spell the text, letter by letter."""
    return {
        head.name: {
            "labels": list(answer.heads[head.name].labels),
            "confidence": round(answer.heads[head.name].confidence, 6),
            "accepted": answer.heads[head.name].accepted,
        }
        for head in schema.free_heads
    }


def _corners(sighting: Sighting) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in sighting.region.quad)


def _artifact(answer: Result) -> Mapping[str, Any]:
    if answer.artifact is None:
        return {"id": None, "version": None}
    return {"id": answer.artifact.id, "version": answer.artifact.version}
