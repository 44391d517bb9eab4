"""From the frames of one camera to events: find, track, read, add up, tell once.

A track is told once: as soon as its answer is accepted and has stayed the same for
``stable_frames`` frames, or when the vehicle is gone. What is read after that of the same vehicle
changes nothing that was told. If the artifact is changed meanwhile, evidence begins anew, as
scores of two networks do not add up; a track that was told stays told, and one that is not read
again is told with what the earlier artifact knew.

Whatever fails in a step is counted, and the thread goes on with the next frame; cameras share
nothing but the reader.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic_ns
from typing import Final, Protocol

import numpy as np

from runtime.arrays import Image
from runtime.errors import ConfigError, HeadlightError
from runtime.manifest import Manifest
from runtime.regions import Quads
from runtime.results import Result
from runtime.schema import Schema
from runtime.voting import Track, TrackOptions

from .announcing import THUMBNAIL_PX, Announcer, LatestReads
from .events.event import Event
from .finding import Finder, Finding, FindingOptions
from .frames import Frame
from .passage import Passage, Sighting
from .pictures import Pictures, surroundings
from .pipeline_status import PipelineCounts, PipelineStatus
from .privacy import Privacy
from .tracking import Tracker, TrackingOptions

__all__ = ["FrameSource", "Pipeline", "PipelineOptions", "PipelineStatus", "RegionReader"]

_LOG: Final = logging.getLogger("headlight.gateway.pipeline")
_TAKE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 1.0
_VIEW_MARGIN: Final = 0.5
"""Around a region, for thumbnails alone."""


class FrameSource(Protocol):
    """What a pipeline needs of a camera."""

    def take(self, timeout_s: float) -> Frame | None:
        """Return the newest frame that was not taken yet, or None after a time without."""


class RegionReader(Protocol):
    """What a pipeline needs of a reader."""

    @property
    def info(self) -> Manifest:
        """The manifest of the artifact in use."""

    def read_regions(self, frame: Image, quads: Quads) -> list[Result | HeadlightError]:
        """Read regions of one frame."""

    def track(self, options: TrackOptions | None = None) -> Track:
        """Return an empty track of the artifact in use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineOptions:
    """From one camera's frames to events.

    Raises:
        ConfigError: a value out of range.
    """

    regions: FindingOptions = field(default_factory=FindingOptions)
    tracks: TrackingOptions = field(default_factory=TrackingOptions)
    voting: TrackOptions = field(default_factory=TrackOptions)
    stable_frames: int = 3
    """Frames in a row after which an accepted answer was the same when it is told, 1 to 1000."""
    unsure: bool = True
    """Whether vehicles are told whose answer was never accepted, when they are gone."""
    thumbnails: bool = True
    """Whether the status page shows small pictures; they stay in memory, and there are none where
    texts are masked or hashed."""

    def __post_init__(self) -> None:
        if not 1 <= self.stable_frames <= 1000:
            raise ConfigError(f"stable_frames must be 1 to 1000, got {self.stable_frames}")


class Pipeline:
    """One camera's thread.

    Args:
        name: The camera's.
        camera: Where frames come from; started and stopped by the caller.
        reader: Keeps scores; shared by all cameras.
        options: How.
        emit: Takes events, from this thread.
        privacy: What may be told.
        pictures: Where pictures are kept, if any.
        latest: For the status page.
        detector: Instead of the one that the options name.
        clock_ns: The clock of the frames' ``arrived_ns``.

    Raises:
        ConfigError: the reader keeps no scores, or the detector cannot be had.
    """

    def __init__(
        self,
        name: str,
        camera: FrameSource,
        reader: RegionReader,
        *,
        options: PipelineOptions,
        emit: Callable[[Event], None],
        privacy: Privacy,
        pictures: Pictures | None = None,
        latest: LatestReads | None = None,
        detector: Finder | None = None,
        clock_ns: Callable[[], int] = monotonic_ns,
    ) -> None:
        self._name, self._camera, self._reader = name, camera, reader
        self._options, self._clock_ns = options, clock_ns
        reader.track(options.voting)  # fails now if it ever would
        self._find = Finding(options.regions, detector=detector)
        self._tracker = Tracker(options.tracks, fixed=self._find.fixed)
        self._announcer = Announcer(
            name,
            emit=emit,
            privacy=privacy,
            pictures=pictures,
            latest=latest,
            thumbnails=options.thumbnails,
            clock_ns=clock_ns,
        )
        view = pictures.options if pictures is not None else None
        self._margin = view.margin if view else _VIEW_MARGIN
        self._view_px = view.largest_px if view else THUMBNAIL_PX
        self._counts = PipelineCounts(name)
        self._step_began_ns: int | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"pipeline-{name}", daemon=True)

    def start(self) -> None:
        """Begin to take frames."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Take no more frames, tell what was seen of vehicles that are still there, and end.

        Returns:
            Whether the thread has ended; one that hangs in a detector or an engine has not.
        """
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def status(self) -> PipelineStatus:
        """Return the counts so far; any thread may call."""
        began_ns = self._step_began_ns
        return self._counts.read(
            tracks=len(self._tracker),
            overflows=self._tracker.overflows,
            busy_s=0.0 if began_ns is None else (self._clock_ns() - began_ns) / 1e9,
        )

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            failures = 0 if self._survive(lambda: self.step(_TAKE_S)) else failures + 1
            if failures:
                self._stopping.wait(min(_LONGEST_PAUSE_S, 0.01 * 2 ** min(failures, 10)))
        self._survive(lambda: self._end(self._tracker.end_all()))

    def _survive(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - one frame's error must not end the camera
            self._note("step_errors", error)
            return False
        finally:
            self._step_began_ns = None
        return True

    def step(self, timeout_s: float) -> None:
        """Take one frame, if one comes in time, and do all that follows from it."""
        frame = self._camera.take(timeout_s)
        self._step_began_ns = now_ns = self._clock_ns()
        try:
            if frame is not None:
                now_ns = frame.arrived_ns
                self._look(frame)
        finally:
            self._end(self._tracker.end_lost(now_ns / 1e9))

    def _look(self, frame: Frame) -> None:
        found = self._find(frame.image)
        late = not self._find.fixed and found.duration_ns > self._options.regions.budget_ms * 1e6
        self._counts.count_find(found.duration_ns)
        self._counts.count(frames=1, regions=len(found.regions), find_late=int(late))
        if found.errors:
            self._note("find_errors", found.problem or "", found.errors)
        now_s = frame.arrived_ns / 1e9
        # Before reading, so that a reader that fails does not make vehicles disappear.
        keys = self._tracker.assign(found.regions, now_s)
        wanted = [(i, key) for i, key in enumerate(keys) if key is not None]
        if not wanted:
            return
        quads = np.stack([found.regions[index].quad for index, _ in wanted])
        answers = self._reader.read_regions(frame.image, quads)
        manifest = self._reader.info
        for (index, key), answer in zip(wanted, answers, strict=True):
            if isinstance(answer, HeadlightError):
                self._note("read_errors", answer)
                continue
            self._counts.count(reads=1)
            if answer.artifact is not None and answer.artifact != manifest.name:
                continue  # the artifact was changed meanwhile; the next frame is its successor's
            sighting = Sighting(
                answer, found.regions[index], index, frame.number, frame.arrived_ns, frame.arrived
            )
            if self._tracker.present(answer):
                self._see(key, sighting, frame.image, manifest.schema)

    def _see(self, key: int, sighting: Sighting, image: Image, schema: Schema) -> None:
        """Add a sighting to its passage, or begin the next one with it."""
        now_s = sighting.arrived_ns / 1e9
        passage = self._tracker.see(key, sighting.region, now_s)
        verdict = self._tracker.judge(passage, sighting, schema)
        if verdict == "doubt":
            self._counts.count(outliers=1)
            return
        sightings = [sighting]
        if verdict == "another":
            sightings = list(passage.doubts)
            self._counts.count(outliers=1 - len(sightings))  # they were none
            self._end([self._tracker.end(key)])
            passage = self._tracker.see(key, sighting.region, now_s)
        try:
            for each in sightings:
                passage.add(each, schema, lambda: self._reader.track(self._options.voting))
        except HeadlightError as error:
            self._note("read_errors", error)
            return
        self._keep_view(passage, sighting, image)
        stable = passage.same >= self._options.stable_frames
        if passage.read is not None and passage.read.answer.accepted and stable:
            self._announce(passage, "stable")

    def _keep_view(self, passage: Passage, sighting: Sighting, image: Image) -> None:
        if not self._announcer.shows or passage.announced:
            return
        if sighting.result.confidence > passage.best:
            passage.best = sighting.result.confidence
            passage.view = surroundings(
                image, sighting.region.quad, margin=self._margin, largest_px=self._view_px
            )

    def _end(self, passages: Sequence[Passage]) -> None:
        """Tell passages that are over, if they were not told."""
        for passage in passages:
            if passage.read is not None and (self._options.unsure or passage.read.answer.accepted):
                self._announce(passage, "ended")

    def _announce(self, passage: Passage, decided: str) -> None:
        if passage.read is None or passage.announced:
            return
        latency_ns = self._announcer.announce(passage, passage.read, decided=decided)
        accepted = passage.read.answer.accepted
        self._counts.count(events=1, accepted=int(accepted), abstained=int(not accepted))
        if decided == "stable":
            self._counts.count_latency(latency_ns)

    def _note(self, counter: str, error: Exception | str, count: int = 1) -> None:
        """Count errors, and log one that was not the last one's like."""
        known = isinstance(error, HeadlightError | str)
        # What others raise may say more than a log should hold.
        text = str(error) if known else f"{type(error).__name__} {_place(error)}"
        if self._counts.fail(counter, text, count):
            _LOG.warning("camera %s: %s", self._name, text)


def _place(error: Exception | str) -> str:
    """Return where an error was raised."""
    trace = error.__traceback__ if isinstance(error, Exception) else None
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"at {trace.tb_frame.f_code.co_name}:{trace.tb_lineno}"
