"""The gateway's one class: open an artifact, read images, get answers.

::

    with Reader.open("artifacts/plates-int8-openvino", threads=1) as reader:
        result = reader.read(image)  # (H, W, 3) uint8, BGR; never changed or kept
        results = reader.read_many(images)  # order kept; a bad crop is an error object
    result.text, result.confidence, result.accepted, result.heads["colour"].label
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from time import perf_counter_ns
from types import TracebackType
from typing import Final

import numpy as np

from .arrays import Image, Logits
from .decode import Decoder
from .errors import ConfigError, EngineError, HeadlightError, ImageError
from .golden import check_golden as check_golden_vectors
from .golden import load_golden
from .manifest import GOLDEN_FILE, Manifest
from .preprocess import fit
from .results import Draft, Result, Timings, drafts
from .session import Session, SessionOptions, open_session
from .trial import trial_load
from .verify import load_manifest

__all__ = ["Reader", "Stats"]

_MAX_BATCH: Final = 16


@dataclass(frozen=True, slots=True)
class Stats:
    """What a reader did since it was opened."""

    images: int = 0
    """Images handed in; each became exactly one of the next three."""
    answered: int = 0
    bad_images: int = 0
    engine_failures: int = 0
    accepted: int = 0
    """Of those answered."""
    engine_calls: int = 0
    prepare_ns: int = 0
    engine_ns: int = 0
    decode_ns: int = 0


class Reader:
    """A loaded artifact; any thread may call any method. Make one with ``Reader.open``."""

    def __init__(self, manifest: Manifest, session: Session, *, max_batch: int) -> None:
        self._manifest = manifest
        self._session = session
        self._max_batch = max_batch
        self._decoder = Decoder(manifest.schema, manifest.operating)
        self._lock = threading.Lock()
        self._counts = dict.fromkeys((field.name for field in fields(Stats)), 0)
        self._closed = False

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
    ) -> Reader:
        """Verify an artifact and load its engine.

        Args:
            path: The artifact folder.
            threads: Threads for one engine call, >= 1.
            hint: ``latency`` or ``throughput``.
            check_golden: Score the golden vectors first. Without it, a wrong engine goes unseen
                and the first answer is slow.
            max_batch: Images per engine call in ``read_many``, >= 1.
            cache_dir: Where OpenVINO may keep compiled graphs, trusted as the artifact itself.
            trial: Load it in a child process first (``runtime.trial``), so that an engine that
                crashes, hangs or fills the memory is an error. Adds half a second or more.
            verify: Public key (PEM file) whose owner must have signed the artifact. Without it,
                whoever can write the folder decides what it answers.
            minimum_version: The lowest version to accept, usually that of the artifact in use.

        Raises:
            ArtifactError: the folder is no artifact of this format version, or an older artifact.
            IntegrityError: a file is not the one that was exported; no engine has seen it.
            SignatureError: no signature by the key; no engine has seen a file.
            EngineUnavailableError: the engine's package is not installed.
            EngineError: the engine was built for another host, refuses the file, misses the golden
                vectors, or did not survive the trial.
            ConfigError: ``max_batch`` is less than 1, or the key cannot be used.
            MissingExtraError: a key was given, and cryptography is not installed.
        """
        if max_batch < 1:
            raise ConfigError(f"max_batch must be >= 1, got {max_batch}")
        folder = Path(path)
        options = SessionOptions(threads=threads, hint=hint, batch=max_batch, cache_dir=cache_dir)
        key = None if verify is None else Path(verify)
        manifest = load_manifest(folder, key=key, minimum_version=minimum_version)
        manifest.check_files(folder)
        # Before the engine is loaded: whatever can be refused without it, is.
        golden = load_golden(folder / GOLDEN_FILE, manifest.schema, manifest.input)
        if trial:
            trial_load(folder, options)
        session = open_session(folder, manifest, options)
        try:
            if check_golden:
                check_golden_vectors(session, manifest, folder, golden=golden)
            return cls(manifest, session, max_batch=max_batch)
        except BaseException:
            session.close()
            raise

    @property
    def info(self) -> Manifest:
        """The manifest: id, schema, input size, operating point, lineage."""
        return self._manifest

    @property
    def engine(self) -> Mapping[str, str]:
        """Engine, its version, and the precision and device that it really uses."""
        return self._session.description

    @property
    def session(self) -> Session:
        """The engine underneath, for parity checks and benchmarks; it ends with the reader."""
        return self._session

    @property
    def max_batch(self) -> int:
        """Images per engine call in ``read_many``."""
        return self._max_batch

    def stats(self) -> Stats:
        """Return the counters so far."""
        with self._lock:
            return Stats(**self._counts)

    def read(self, image: Image) -> Result:
        """Read one image.

        Args:
            image: (H, W, 3) uint8 BGR, at least 4 px a side, contiguous or not.

        Raises:
            ImageError: ``image`` is something else.
            EngineError: the engine failed, or the reader was closed.
        """
        self._check_open()
        (answer,) = self._read([image])
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
            EngineError: the reader was closed before the call.
        """
        self._check_open()
        answers: list[Result | HeadlightError] = []
        for start in range(0, len(images), self._max_batch):
            answers += self._read(images[start : start + self._max_batch])
        return answers

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError("the reader was closed; open the artifact again")

    def _read(self, images: Sequence[Image]) -> list[Result | HeadlightError]:
        started = perf_counter_ns()
        prepared: list[Image | ImageError] = [self._prepare(image) for image in images]
        batch = [image for image in prepared if not isinstance(image, ImageError)]
        ready = perf_counter_ns()
        scored = self._score(batch) if batch else None
        answered = perf_counter_ns()
        outcomes = self._decode(scored, len(batch))
        timings = Timings(ready - started, answered - ready, perf_counter_ns() - answered)
        rest = iter(outcomes)
        answers: list[Result | HeadlightError] = []
        for image in prepared:
            outcome = image if isinstance(image, ImageError) else next(rest)
            answers.append(outcome if isinstance(outcome, HeadlightError) else outcome(timings))
        self._count(answers, timings, engine_calls=1 if batch else 0)
        return answers

    def _prepare(self, image: Image) -> Image | ImageError:
        try:
            return fit(image, self._manifest.input)
        except ImageError as error:
            return error

    def _score(self, batch: Sequence[Image]) -> Logits | EngineError:
        # A view of the one image, or a copy of many; engines do not write into their input.
        stacked = batch[0][None] if len(batch) == 1 else np.stack(batch)
        try:
            return self._session.run(stacked)
        except EngineError as error:
            return error

    def _decode(self, scored: Logits | EngineError | None, count: int) -> list[Draft | EngineError]:
        """Return ``count`` drafts or errors; None stands for an empty batch."""
        if scored is None:
            return []
        if isinstance(scored, EngineError):
            return [scored] * count
        try:
            return [*drafts(self._manifest.schema, self._decoder(scored))]
        except EngineError as error:
            if count == 1:
                return [error]
        # NaN may come from one image only (float16 overflows); the others keep their answers.
        rows = ({name: s[i : i + 1] for name, s in scored.items()} for i in range(count))
        return [outcome for row in rows for outcome in self._decode(row, 1)]

    def _count(
        self, answers: Sequence[Result | HeadlightError], timings: Timings, *, engine_calls: int
    ) -> None:
        bad_images = sum(isinstance(answer, ImageError) for answer in answers)
        results = [answer for answer in answers if isinstance(answer, Result)]
        changes = {
            "images": len(answers),
            "answered": len(results),
            "bad_images": bad_images,
            "engine_failures": len(answers) - len(results) - bad_images,
            "accepted": sum(result.accepted for result in results),
            "engine_calls": engine_calls,
            "prepare_ns": timings.prepare,
            "engine_ns": timings.engine,
            "decode_ns": timings.decode,
        }
        with self._lock:
            for name, change in changes.items():
                self._counts[name] += change

    def close(self) -> None:
        """Free the engine; calls that are running end as usual, a second close does nothing."""
        self._closed = True
        self._session.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
