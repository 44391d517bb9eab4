"""One event: what was read of a vehicle, or that a camera came or went.

An event's id is a name-based UUID (RFC 9562, version 5) over where and when its track began, so
that the same event told twice has the same id, and nobody can tell a plate from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from runtime.errors import ConfigError

__all__ = ["Event", "Seen", "camera_event", "reading_id", "utc_text"]

_NAMESPACE: Final = uuid5(NAMESPACE_URL, "headlight:events")
_FORMAT_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one event says was read; texts as the privacy options have them."""

    text: str | None
    """Text of the first reading; unsure positions are ``?``. None if the schema has no reading."""
    confidence: float
    """Calibrated, of all frames together, in [0, 1]."""
    accepted: bool
    """Whether the confidence reaches the artifact's threshold."""
    heads: Mapping[str, Mapping[str, Any]]
    """Heads outside of readings: {"labels": [...], "confidence": 0.98} by name."""
    decided: str
    """``stable``: announced while the vehicle was seen; ``ended``: when it was gone."""
    began: datetime
    """Arrival of the track's first frame, UTC."""
    frames: int
    """Frames whose readings were added up."""
    quad: tuple[tuple[float, float], ...]
    """Four corners (x, y) in the frame that decided, px, clockwise from the top left."""
    artifact: Mapping[str, Any]
    """{"id": ..., "version": ...} of what read it."""
    latency_ms: float
    """From the arrival of the frame that decided to the event. For ``ended``, which is told when
    frames stay away, the time that the track was waited for is part of it."""
    picture: str | None = None
    """Path of the picture below the folder of pictures; None where none is kept."""

    def to_object(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "text": self.text,
            "confidence": round(self.confidence, 6),
            "accepted": self.accepted,
            "heads": {name: dict(answer) for name, answer in self.heads.items()},
            "decided": self.decided,
            "began": utc_text(self.began),
            "frames": self.frames,
            "quad": [[round(x, 2), round(y, 2)] for x, y in self.quad],
            "artifact": dict(self.artifact),
            "latency_ms": round(self.latency_ms, 3),
            "picture": self.picture,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event; ``to_json`` is what sinks are given.

    Raises:
        ConfigError: a reading without what was seen, a camera's event without a state.
    """

    id: str
    kind: str
    """``reading`` or ``camera``."""
    camera: str
    time: datetime
    """Arrival of the frame that decided, or when the camera changed; UTC."""
    seen: Seen | None = None
    state: str | None = None
    """Of the camera, such as ``running`` or ``retrying``."""
    reason: str | None = None
    """Why it has that state; without credentials."""

    def __post_init__(self) -> None:
        fits = {"reading": self.seen is not None, "camera": self.state is not None}
        if not fits.get(self.kind, False):
            raise ConfigError(
                f"an event of kind {self.kind!r} must be a reading with what was seen, or a "
                "camera with its state"
            )

    def to_object(self) -> dict[str, Any]:
        """Return plain JSON values, as docs/events.md describes them."""
        value: dict[str, Any] = {
            "version": _FORMAT_VERSION,
            "id": self.id,
            "kind": self.kind,
            "camera": self.camera,
            "time": utc_text(self.time),
        }
        if self.seen is not None:
            return {**value, **self.seen.to_object()}
        return {**value, "state": self.state, "reason": self.reason}

    def to_json(self) -> bytes:
        """Return one line of JSON, UTF-8, without the line's end.

        Raises:
            ValueError: a number that JSON has not.
        """
        text = json.dumps(
            self.to_object(), ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
        return text.encode()


def reading_id(camera: str, began: datetime, frame: int, region: int) -> str:
    """Return the id of the event of a track.

    Args:
        camera: Name of the camera.
        began: Arrival of the track's first frame.
        frame: Number of that frame.
        region: Which of the frame's regions began the track: two tracks may begin at once.
    """
    return str(uuid5(_NAMESPACE, "\0".join([camera, utc_text(began), str(frame), str(region)])))


def camera_event(camera: str, state: str, reason: str | None, time: datetime) -> Event:
    """Return the event of a camera that came, went or failed."""
    name = "\0".join(["camera", camera, state, utc_text(time)])
    return Event(
        id=str(uuid5(_NAMESPACE, name)),
        kind="camera",
        camera=camera,
        time=time,
        state=state,
        reason=reason,
    )


def utc_text(time: datetime) -> str:
    """Return an aware time as ISO 8601 in UTC, such as ``2026-11-21T08:00:00.500000Z``.

    Raises:
        ConfigError: a time without a zone, which could mean anything.
    """
    if time.tzinfo is None:
        raise ConfigError(
            f"expected a time with its zone, got {time}; use datetime.now(timezone.utc)"
        )
    text = time.astimezone(timezone.utc).isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z")
