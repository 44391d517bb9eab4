"""What the HTTP server sees of a gateway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from runtime.reader import Reader

if TYPE_CHECKING:  # their modules need packages that a server does not
    from runtime.gateway.cameras.status import CameraStatus
    from runtime.gateway.events.status import SinkStatus
    from runtime.gateway.pipeline_status import PipelineStatus

__all__ = ["GatewayView", "LatestRead", "VersionRow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestRead:
    """One of the last readings, as the page shows it; privacy was applied."""

    camera: str
    time: datetime
    """Aware."""
    text: str | None
    """None where the schema has no reading."""
    confidence: float
    """In [0, 1]."""
    accepted: bool
    heads: Mapping[str, str]
    """Head to its label, or to its labels joined by commas."""
    latency_ms: float
    """From the arrival of the frame that decided it to the event."""
    thumbnail: bytes | None = field(default=None, repr=False)
    """JPEG; None where no pictures are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRow:
    """An artifact that may be loaded."""

    name: str
    """What ``GatewayView.reload`` takes."""
    version: int
    current: bool
    """Whether it is the one in use."""
    note: str = ""
    """Why it was refused or rolled back, where it was."""


class GatewayView(Protocol):
    """A gateway that is running; any thread may call, and no call but ``reload`` takes long."""

    @property
    def reader(self) -> Reader:
        """The reader in use, opened with ``keep_scores`` and a queue."""

    @property
    def started(self) -> datetime:
        """Since when the gateway runs; aware."""

    def cameras(self) -> Sequence[CameraStatus]:
        """Return the state of every camera."""

    def pipelines(self) -> Sequence[PipelineStatus]:
        """Return what was made of every camera's frames."""

    def sinks(self) -> Sequence[SinkStatus]:
        """Return the state of every sink."""

    def latest(self) -> Sequence[LatestRead]:
        """Return the last readings, newest first."""

    def versions(self) -> Sequence[VersionRow]:
        """Return the artifacts that ``reload`` may be told to load, newest first."""

    def reload(self, name: str) -> str:
        """Change to an artifact of ``versions`` and return what was done, in words.

        Raises:
            HeadlightError: it was refused or rolled back; the one before still serves.
        """
