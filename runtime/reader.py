"""The gateway's one class: open an artifact, read images, get answers.

::

    with Reader.open("artifacts/plates-int8-openvino", threads=1) as reader:
        result = reader.read(image)  # (H, W, 3) uint8, BGR; never changed or kept
        results = reader.read_many(images)  # order kept; a bad crop is an error object
        results = reader.read_regions(frame, quads)  # rectified crops of one frame
        future = reader.submit(image, tag="gate 3", deadline_ms=200)
        result = await reader.read_async(image)
        reader.reload("artifacts/plates-2-int8-openvino")  # nothing that is asked meanwhile is lost
    result.text, result.confidence, result.accepted, result.heads["colour"].label
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, TypeVar

from .arrays import Image
from .errors import ConfigError, HeadlightError, ImageError
from .health import Health
from .loading import Loaded, LoadOptions, open_proven
from .manifest import Manifest
from .preprocess import check_image, fit
from .queue import QueueOptions, Request, check_deadline
from .regions import Quads, check_quads, rectify
from .reloading import InUse
from .results import Result
from .scores import OperatingPoint
from .session import Session, SessionOptions
from .statistics import Counters, Stats
from .thresholds import Thresholds
from .voting import Track, TrackOptions

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["Reader"]

_MAX_BATCH: Final = 16
_DRAIN_S: Final = 5.0
_RETIRE_S: Final = 30.0
T = TypeVar("T")


class Reader:
    """A loaded artifact; any thread may call any method. Make one with ``Reader.open``.

    Open it in the process that uses it: engines and threads do not survive a fork.
    """

    def __init__(
        self,
        manifest: Manifest,
        session: Session,
        *,
        max_batch: int,
        queue: QueueOptions | None = None,
        thresholds: Thresholds | None = None,
        keep_scores: bool = False,
    ) -> None:
        self._max_batch = max_batch
        self._keep_scores = keep_scores
        counters = Counters()
        load = partial(
            Loaded,
            max_batch=max_batch,
            queue=queue,
            thresholds=thresholds,
            keep_scores=keep_scores,
            counters=counters,
        )
        self._use = InUse(load, manifest, session, counters)
        self._options: LoadOptions | None = None

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        threads: int = 1,
        hint: str = "latency",
        check_golden: bool = True,
        max_batch: int = _MAX_BATCH,
        cache_dir: Path | None = None,
        trial: bool = False,
        verify: Path | str | None = None,
        minimum_version: int = 0,
        queue: QueueOptions | None = None,
        thresholds: Thresholds | None = None,
        keep_scores: bool = False,
    ) -> Reader:
        """Verify an artifact and load its engine.

        Args:
            path: The artifact folder.
            threads: Threads for one engine call, >= 1.
            hint: ``latency`` or ``throughput``.
            check_golden: Score the golden vectors first. Without it, a wrong engine goes unseen
                and the first answer is slow.
            max_batch: Images per engine call in ``read_many`` and for submitted ones, >= 1.
            cache_dir: Where OpenVINO may keep compiled graphs, trusted as the artifact itself.
            trial: Load it in a child process first (``runtime.trial``), so that an engine that
                crashes, hangs or fills the memory is an error. Adds half a second or more.
            verify: Public key (PEM file) whose owner must have signed the artifact. Without it,
                whoever can write the folder decides what it answers.
            minimum_version: The lowest version to accept, usually that of the artifact in use.
            queue: How submitted images wait. Where given, batches are warmed up before this
                returns; otherwise the first one is slow on engines that compile for a batch size.
            thresholds: Instead of those that were fitted for the artifact.
            keep_scores: Results carry the engine's scores, which ``voting.Track`` needs.

        Raises:
            ArtifactError: the folder is no artifact of this format version, or an older artifact.
            IntegrityError: a file is not the one that was exported; no engine has seen it.
            SignatureError: no signature by the key; no engine has seen a file.
            EngineUnavailableError: the engine's package is not installed.
            EngineError: the engine was built for another host, refuses the file, misses the golden
                vectors, or did not survive the trial.
            ConfigError: ``max_batch`` is less than 1, thresholds that do not fit the schema, or the
                key cannot be used.
            MissingExtraError: a key was given, and cryptography is not installed.
        """
        if max_batch < 1:
            raise ConfigError(f"max_batch must be >= 1, got {max_batch}")
        options = LoadOptions(
            session=SessionOptions(
                threads=threads, hint=hint, batch=max_batch, cache_dir=cache_dir
            ),
            check_golden=check_golden,
            key=None if verify is None else Path(verify),
        )
        manifest, session = open_proven(
            Path(path), options, trial=trial, minimum_version=minimum_version
        )
        try:
            reader = cls(
                manifest,
                session,
                max_batch=max_batch,
                queue=queue,
                thresholds=thresholds,
                keep_scores=keep_scores,
            )
            reader._options = options
            if queue is not None:
                reader._use.loaded.warm_up()
            return reader
        except BaseException:
            session.close()
            raise

    def reload(
        self,
        path: Path | str,
        *,
        trial: bool = True,
        minimum_version: int | None = None,
        other_heads: bool = False,
        drain_s: float = _RETIRE_S,
    ) -> None:
        """Go on with another artifact, without losing a request; any failure changes nothing.

        The new one is verified with the same key, loaded with the same options, proven and warmed
        up while the old one answers. Then calls and requests that begin go to the new one, and
        those that began end with the old one: every result comes from one artifact, which it names.
        Reloads wait for each other. Until the old engine is free, both are in memory.

        Args:
            path: The artifact folder.
            trial: Load it in a child process first.
            minimum_version: The lowest version to accept; default: that of the artifact in use.
            other_heads: Accept other heads, labels or readings.
            drain_s: How long requests that wait may still be answered by the old engine; if it
                hangs, they end as ``EngineError`` and it is left behind with its memory.

        Raises:
            ConfigError: the reader was not made by ``Reader.open``, this is a callback of one of
                its futures, or the caller's thresholds do not fit.
            SchemaError: other heads, labels or readings.
            ClosedError: the reader was closed, perhaps meanwhile.
            HeadlightError: as ``open``.
        """
        options = self._options
        if options is None:
            raise ConfigError("this reader was not made by Reader.open; make another one")

        def opened(current: Manifest) -> tuple[Manifest, Session]:
            return open_proven(
                Path(path),
                options,
                trial=trial,
                minimum_version=current.version if minimum_version is None else minimum_version,
                like=None if other_heads else current.schema,
            )

        self._use.replace(opened, drain_s)

    @property
    def info(self) -> Manifest:
        """The manifest: id, schema, input size, operating point, lineage."""
        return self._use.loaded.manifest

    @property
    def operating(self) -> OperatingPoint:
        """Temperatures and thresholds in use: the artifact's, or with the caller's instead."""
        return self._use.loaded.operating

    @property
    def engine(self) -> Mapping[str, str]:
        """Engine, its version, and the precision and device that it really uses."""
        return self.session.description

    @property
    def session(self) -> Session:
        """The engine underneath, for parity checks and benchmarks; it ends with the reader."""
        return self._use.loaded.answerer.session

    @property
    def max_batch(self) -> int:
        """Images per engine call."""
        return self._max_batch

    def stats(self) -> Stats:
        """Return the counters so far."""
        return self._use.stats()

    def health(self) -> Health:
        """Return whether the reader is ready, overloaded or failed, and why."""
        return self._use.health()

    def read(self, image: Image) -> Result:
        """Read one image.

        Args:
            image: (H, W, 3) uint8 BGR, at least 4 px a side, contiguous or not.

        Raises:
            ImageError: ``image`` is something else.
            EngineError: the engine failed, or the reader was closed.
        """
        self._use.check_open()
        (answer,) = self._use.answer([image], fit)
        if isinstance(answer, HeadlightError):
            raise answer
        return answer

    def read_many(self, images: Sequence[Image]) -> list[Result | HeadlightError]:
        """Read any number of images, ``max_batch`` at a time.

        A bad image never fails the others, nor does one engine call fail those after it.

        Args:
            images: Each as for ``read``.

        Returns:
            One entry per image, in order: its result, or the error that ``read`` would raise.

        Raises:
            ClosedError: the reader was closed before the call.
        """
        self._use.check_open()
        answers: list[Result | HeadlightError] = []
        for start in range(0, len(images), self._max_batch):
            answers += self._use.answer(images[start : start + self._max_batch], fit)
        return answers

    def read_regions(self, frame: Image, quads: Quads) -> list[Result | HeadlightError]:
        """Read regions of one frame, each turned upright, ``max_batch`` at a time.

        Args:
            frame: (H, W, 3) uint8 BGR, contiguous or not; never changed or kept.
            quads: (N, 4, 2) corners (x, y) in pixels, clockwise from the region's top left; see
                ``rectify``. A box is the quad of its corners (``box_quads``).

        Returns:
            One entry per region, in order: its result, or the error that it met.

        Raises:
            ImageError: ``frame`` is no image, or ``quads`` no such array; one region that cannot be
                read is an error of its own.
            ClosedError: the reader was closed before the call.
        """
        self._use.check_open()
        check_image(frame)
        corners = [*check_quads(quads)]
        answers: list[Result | HeadlightError] = []
        for start in range(0, len(corners), self._max_batch):
            part = corners[start : start + self._max_batch]
            answers += self._use.answer(part, partial(rectify, frame))
        return answers

    def track(self, options: TrackOptions | None = None) -> Track:
        """Return an empty track, to which results of the artifact in use are added.

        It takes none of another artifact: after a reload, begin a new one (``Track.takes``).

        Raises:
            ConfigError: the reader does not keep scores.
        """
        if not self._keep_scores:
            raise ConfigError("a track adds up scores; open the reader with keep_scores=True")
        loaded = self._use.loaded
        manifest = loaded.manifest
        return Track(manifest.schema, loaded.operating, options, artifact=manifest.name)

    def submit(
        self, image: Image, *, tag: object = None, deadline_ms: float | None = None
    ) -> Future[Result]:
        """Have an image read by a lane; returns at once, or when the queue lets it in.

        The image is brought to the network's size here, in the caller's thread: afterwards its
        memory may be used again. Callbacks of the future run in a lane and hold it up.

        Args:
            image: As for ``read``.
            tag: Comes back as ``result.tag``.
            deadline_ms: From now to the answer, > 0; the queue's own where not given.

        Returns:
            A future of the result, or of one of these errors: ``ImageError``, ``EngineError``,
            ``OverloadError`` (dropped) or ``DeadlineError``; ``future.cancel()`` works until a lane
            has taken the request.

        Raises:
            ClosedError: the reader was closed.
            ConfigError: a deadline that cannot be kept.
        """
        try:
            request = self._request(image, tag, deadline_ms)
        except ImageError as error:
            from concurrent.futures import Future

            self._use.counters.count("bad_images")
            refused: Future[Result] = Future()
            refused.set_exception(error)
            return refused
        self._use.put(request, image)
        return request.future

    async def read_async(
        self, image: Image, *, tag: object = None, deadline_ms: float | None = None
    ) -> Result:
        """Read an image from a coroutine, as ``submit`` does; cancelling cancels the request.

        Resizing the image takes some 0.1 ms of the event loop's thread; no call blocks it.

        Raises:
            ImageError: ``image`` is no image.
            OverloadError: the request was dropped because the queue was full.
            DeadlineError: it was not answered in time; raised then, whatever the engine does.
            EngineError: the engine failed, or the reader was closed.
            ConfigError: a deadline that cannot be kept.
        """
        from .waiting import wait_for  # asyncio takes longer to import than all of the runtime

        try:
            request = self._request(image, tag, deadline_ms)
        except ImageError:
            self._use.counters.count("bad_images")
            raise
        return await wait_for(request, partial(self._use.put, image=image))

    def _request(self, image: Image, tag: object, deadline_ms: float | None) -> Request:
        self._use.check_open()
        check_deadline(deadline_ms)
        return self._use.request(image, tag, deadline_ms)

    def close(self, *, drain_s: float = _DRAIN_S) -> None:
        """Free the engine; calls that are running end as usual, a second close does nothing.

        Never hangs: an engine that does not return within a second after ``drain_s`` is left behind
        with its memory.

        Args:
            drain_s: How long requests that wait may still be answered; the rest end as
                ``ClosedError``.
        """
        self._use.close(drain_s)

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
