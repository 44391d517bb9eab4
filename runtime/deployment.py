"""A reader on a store of versions: install, reload, and back by itself if the new one is no good.

::

    versions = Versions("/var/lib/plates", key=Path("public.pem"))
    open_reader = partial(Reader.open, verify=Path("public.pem"), queue=QueueOptions())
    with Deployment(versions, open_reader) as deployment:
        deployment.reader.read(image)  # the same reader for good; what it reads with changes
        deployment.install("artifacts/plates-2")
        deployment.status()
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from time import monotonic, perf_counter_ns
from types import TracebackType
from typing import Final

import numpy as np

from .errors import ClosedError, ConfigError, EngineError, HeadlightError
from .manifest import ArtifactName
from .probation import CONFIRMED, Probation, ProbationOptions
from .reader import Reader
from .versions import Versions

__all__ = ["Deployment", "DeploymentOptions", "DeploymentStatus"]

_LOOK_S: Final = 0.5
_BACK_DRAIN_S: Final = 1.0
"""For requests that wait for an engine that is no good."""
_TIMED_CALLS: Final = 5
_PROVEN, _WATCHED, _BAD = "proven", "watched", "bad"
_JOIN_S: Final = 5.0
_log = logging.getLogger("headlight.deployment")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentOptions:
    """How a deployment follows its store.

    Raises:
        ConfigError: a negative time.
    """

    poll_s: float = 5.0
    """How often to look whether another process installed a version, in seconds; 0: never."""
    probation: ProbationOptions = field(default_factory=ProbationOptions)
    """When a version is rolled back."""

    def __post_init__(self) -> None:
        if not self.poll_s >= 0:
            raise ConfigError(f"poll_s must be >= 0, got {self.poll_s}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentStatus:
    """What is in use and how it came to be; for people."""

    version: str
    """Name of the version in use."""
    artifact: ArtifactName
    state: str
    """``proven``; ``watched``: it came into use recently; ``bad``: it must go, and cannot, see
    ``last_error``."""
    since: datetime
    """When it came into use, UTC."""
    reason: str
    """Why it is in use: ``start``, ``install``, ``chosen``, or why the one before had to go."""
    last_good: str | None
    rejected: Mapping[str, str]
    """Versions that are not taken again, and why."""
    reloads: int
    rollbacks: int
    last_error: str
    """Why the last reload or rollback failed; empty if it did not."""


class Deployment:
    """A reader that is always there, and a thread that watches it; any thread may call.

    Args:
        versions: The store.
        open_reader: Opens a version, usually ``functools.partial(Reader.open, ...)``.
        options: How to follow the store.

    Raises:
        HeadlightError: neither the version in use nor another one can be opened.
    """

    def __init__(
        self,
        versions: Versions,
        open_reader: Callable[[Path], Reader],
        options: DeploymentOptions | None = None,
    ) -> None:
        self.versions = versions
        self._options = options or DeploymentOptions()
        self._watch_s = self._options.probation.watch_s
        self._changing = threading.Lock()
        self._reloads = self._rollbacks = 0
        self._last_error = ""
        self._name, self.reader, reason = self._start(open_reader)
        self._begin(self._name, reason)
        self._started_s: float | None = monotonic()
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="headlight-watch", daemon=True)
        self._watcher.start()

    def _start(self, open_reader: Callable[[Path], Reader]) -> tuple[str, Reader, str]:
        """Open the version in use, or what is there instead."""
        name = self.versions.begin_start()
        try:
            return name, open_reader(self.versions.path(name)), "start"
        except HeadlightError as error:
            instead = self.versions.fallback(name)
            if instead is None:
                raise
            _log.error("version %s cannot be opened, going back to %s: %s", name, instead, error)
            reader = open_reader(self.versions.path(instead))
            self.versions.reject(name, f"could not be opened: {error}", instead=instead)
            self._last_error = str(error)
            return instead, reader, f"{name} could not be opened: {error}"

    def _begin(self, name: str, reason: str) -> None:
        """Note that ``name`` came into use, and watch it unless it has proved itself."""
        self._name, self._reason, self._since = name, reason, datetime.now(timezone.utc)
        self._probation: Probation | None = None
        self._state = _PROVEN
        if name != self.versions.last_good:
            self._state = _WATCHED
            self._probation = Probation(
                self._options.probation,
                self.reader.stats(),
                usual_ns=_usual_ns(self.reader),
                now_s=monotonic(),
            )

    def install(
        self, artifact: Path | str, *, minimum_version: int | None = None, again: bool = False
    ) -> str:
        """Copy an artifact into the store and use it; on any error the old one stays in use.

        Args:
            artifact: Its folder.
            minimum_version: The lowest version to accept; default: that of the one in use.
            again: Accept it although it was rejected before.

        Returns:
            The version's name.

        Raises:
            HeadlightError: as ``Versions.add`` and ``Reader.reload``.
        """
        with self._changing:
            before = set(self.versions.names())
            name = self.versions.add(artifact, minimum_version=minimum_version, again=again)
            try:
                return self._use(name, "install")
            except BaseException:
                if name not in before:
                    self.versions.remove(name)
                raise

    def use(self, name: str) -> str:
        """Use a version of the store, an older or a rejected one as well: a person chose it.

        Args:
            name: One of ``versions.names()``.

        Returns:
            Its name.

        Raises:
            ConfigError: there is no such version.
            HeadlightError: as ``Reader.reload``; the one before stays in use.
        """
        with self._changing:
            if name not in self.versions.names():
                raise ConfigError(f"there is no version {name!r} in {self.versions.folder}")
            return self._use(name, "chosen")

    def _use(self, name: str, reason: str) -> str:
        """Have the reader use a version, and then the store."""
        before = self._name
        self._read_with(name, reason)
        try:
            self.versions.select(name)
        except HeadlightError:
            self._read_with(before, f"{name} could not be noted as the one in use", trial=False)
            raise
        return name

    def _read_with(self, name: str, reason: str, *, trial: bool = True) -> None:
        """Have the reader use a version."""
        if name == self._name:
            return
        self.reader.reload(self.versions.path(name), trial=trial, minimum_version=0)
        self._reloads += 1
        self._last_error = ""
        self._begin(name, reason)

    def reload(self) -> str:
        """Use what another process installed; if that fails, it is rejected.

        Returns:
            The name of the version in use.

        Raises:
            HeadlightError: as ``Reader.reload``; the old one stays in use.
        """
        with self._changing:
            name = self.versions.current
            if name is None or name == self._name:
                return self._name
            try:
                self._read_with(name, "install")
                return name
            except ClosedError:
                raise
            except HeadlightError as error:
                self._last_error = str(error)
                self.versions.reject(name, str(error), instead=self._name)
                raise

    def rollback(self, reason: str) -> str:
        """Go back to the last good version, and never again take the one in use by itself.

        Args:
            reason: Why; stands in the status.

        Returns:
            The name of the version in use.

        Raises:
            ConfigError: there is nothing to go back to.
            HeadlightError: as ``Reader.reload``; nothing changed.
        """
        with self._changing:
            return self._rollback(reason)

    def _rollback(self, reason: str) -> str:
        bad = self._name
        instead = self.versions.fallback(bad)
        if instead is None:
            raise ConfigError(f"there is no version to go back to from {bad} ({reason})")
        # Without a trial, because every second counts and it has run here before.
        self.reader.reload(
            self.versions.path(instead), trial=False, minimum_version=0, drain_s=_BACK_DRAIN_S
        )
        self._rollbacks += 1
        _log.error("went back from version %s to %s: %s", bad, instead, reason)
        self.versions.reject(bad, reason, instead=instead)
        self._begin(instead, f"{bad} was rolled back: {reason}")
        return instead

    def status(self) -> DeploymentStatus:
        """Return what is in use and how it came to be."""
        return DeploymentStatus(
            version=self._name,
            artifact=self.reader.info.name,
            state=self._state,
            since=self._since,
            reason=self._reason,
            last_good=self.versions.last_good,
            rejected=self.versions.state().bad,
            reloads=self._reloads,
            rollbacks=self._rollbacks,
            last_error=self._last_error,
        )

    def _watch(self) -> None:
        polled_s = monotonic()
        while not self._ended.wait(_LOOK_S):
            self._tried(self._look)
            if self._options.poll_s and monotonic() - polled_s >= self._options.poll_s:
                polled_s = monotonic()
                self._tried(self.reload)

    def _tried(self, step: Callable[[], object]) -> None:
        try:
            step()
        except HeadlightError as error:
            if str(error) != self._last_error and not self._ended.is_set():
                self._last_error = str(error)
                _log.error("%s", error)

    def _look(self) -> None:
        """Judge the version in use, if it is watched."""
        with self._changing:
            now_s = monotonic()
            if self._started_s is not None and now_s >= self._started_s + self._watch_s:
                # It ran long enough, even where too little came to judge it by.
                self._started_s = None
                self.versions.end_start()
            if self._probation is None or self._ended.is_set():
                return
            verdict = self._probation.look(self.reader.health(), self.reader.stats(), now_s)
            if verdict == CONFIRMED:
                self.versions.confirm(self._name)
                self._state, self._probation = _PROVEN, None
            elif verdict is not None:
                self._state = _BAD
                self._rollback(verdict)

    def close(self) -> None:
        """End the watcher and the reader; a second call does nothing."""
        if self._ended.is_set():
            return
        self._ended.set()
        self.reader.close()
        if threading.current_thread() is not self._watcher:
            self._watcher.join(_JOIN_S)
        self.versions.end_start()

    def __enter__(self) -> Deployment:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _usual_ns(reader: Reader) -> int:
    """Return what an engine call for one image takes, in nanoseconds; 0 if it fails."""
    image = np.zeros((1, *reader.info.input.shape), np.uint8)
    times = []
    try:
        for _ in range(_TIMED_CALLS):
            began = perf_counter_ns()
            reader.session.run(image)
            times.append(perf_counter_ns() - began)
    except EngineError:
        return 0
    return sorted(times)[_TIMED_CALLS // 2]
