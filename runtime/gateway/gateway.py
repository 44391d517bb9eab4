"""All parts of a gateway together: cameras, pipelines, events, the model, the HTTP server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Final

from runtime.deployment import Deployment
from runtime.errors import ConfigError, HeadlightError
from runtime.health import FAILED
from runtime.manifest import Manifest
from runtime.reader import Reader
from runtime.versions import Versions

from .announcing import LatestReads
from .cameras.camera import Camera
from .cameras.status import CameraStatus
from .config import GatewayOptions, ModelOptions, WatchedCamera
from .events.event import Event, camera_event
from .events.json_lines import JsonLines
from .events.mqtt import Mqtt
from .events.publisher import Publisher, Sink
from .events.status import SinkStatus
from .events.webhook import Webhook
from .pictures import Pictures
from .pipeline import Pipeline, PipelineStatus
from .privacy import Privacy
from .serve.view import LatestRead, VersionRow

__all__ = ["Gateway"]

_LOG: Final = logging.getLogger("headlight.gateway")
_LOOK_S: Final = 0.5
_PATIENCE_S: Final = 20.0
"""How long an engine may fail, or a frame be worked on, before a new process is the better bet;
time enough for a roll-back."""
_STEADY: Final = frozenset({"running", "ended", "failed", "stopped"})
"""States of a camera that are news; others pass or turn into ``stalled`` and ``retrying``."""


class Gateway:
    """A gateway that runs from ``start`` to ``stop``; what the HTTP server and systemd look at.

    Args:
        options: All of them.

    Raises:
        HeadlightError: the model cannot be loaded, or an option cannot be followed here.
    """

    def __init__(self, options: GatewayOptions) -> None:
        self.started = datetime.now(timezone.utc)
        self._latest = LatestReads()
        self._parts = ExitStack()
        try:
            self._build(options)
        except BaseException:
            self._parts.close()
            raise

    def _build(self, options: GatewayOptions) -> None:
        self._model = _Model(options.model)
        self._parts.callback(self._model.close)
        privacy = Privacy(options.privacy)
        pictures = None if options.pictures is None else Pictures(options.pictures)
        self._publisher = Publisher(options.outbox, _sinks(options))
        self._parts.callback(self._publisher.close)
        self._pictures = pictures
        self._cameras = [Camera(camera) for camera in options.camera]
        make = partial(
            Pipeline,
            reader=self._model.reader,
            emit=self._publisher.publish,
            privacy=privacy,
            pictures=pictures,
            latest=self._latest,
        )
        self._pipelines = [
            make(watched.name, camera, options=watched.reading)
            for watched, camera in zip(options.camera, self._cameras, strict=True)
        ]
        self._news = _CameraNews(options.camera)
        self._ending = threading.Event()
        self._monitor = threading.Thread(target=self._watch, name="monitor", daemon=True)
        self._seen_s = monotonic()

    @property
    def reader(self) -> Reader:
        """The reader in use."""
        return self._model.reader

    def start(self) -> None:
        """Begin: sinks first, so that nothing that is read has to wait."""
        self._publisher.start()
        if self._pictures is not None:
            self._pictures.start()
            self._parts.callback(self._pictures.stop)
        for camera, pipeline in zip(self._cameras, self._pipelines, strict=True):
            camera.start()
            self._parts.callback(camera.stop)
            pipeline.start()
        self._monitor.start()

    def stop(self) -> None:
        """End in an order in which nothing is lost: cameras, what was seen, events, the engine."""
        self._ending.set()
        if self._monitor.ident is not None:
            self._monitor.join(2 * _LOOK_S)
        with ThreadPoolExecutor(max(1, len(self._pipelines))) as pool:  # some may hang
            list(pool.map(Pipeline.stop, self._pipelines))
        try:
            self._look()
        finally:
            self._parts.close()

    def cameras(self) -> Sequence[CameraStatus]:
        """Return the state of every camera."""
        return [camera.status() for camera in self._cameras]

    def pipelines(self) -> Sequence[PipelineStatus]:
        """Return what was made of every camera's frames."""
        return [pipeline.status() for pipeline in self._pipelines]

    def sinks(self) -> Sequence[SinkStatus]:
        """Return the state of every sink."""
        return self._publisher.status()

    def latest(self) -> Sequence[LatestRead]:
        """Return the last readings, newest first."""
        return self._latest.read()

    def versions(self) -> Sequence[VersionRow]:
        """Return the artifacts that may be used, newest first."""
        return self._model.versions()

    def reload(self, name: str) -> str:
        """Use a version of the store and say so.

        Raises:
            HeadlightError: it was refused; the one before still reads.
        """
        return self._model.use(name)

    def follow(self) -> None:
        """Take up what was installed meanwhile; what is refused is logged, the old one reads on."""
        try:
            self._model.follow()
        except HeadlightError as error:
            _LOG.error("%s", error)

    def ailing(self) -> str:
        """Return why this process should be replaced by a new one, or "".

        A camera, broker or disk that is away is no reason: a new process would not have it either.
        """
        silent_s = monotonic() - self._seen_s
        if silent_s > _PATIENCE_S:
            return f"the monitor has been silent for {silent_s:.0f} s"
        return self._model.ailing() or next(
            (
                f"camera {status.camera}: one frame has been worked on for {status.busy_s:.0f} s"
                for status in self.pipelines()
                if status.busy_s > _PATIENCE_S
            ),
            "",
        )

    def _watch(self) -> None:
        while not self._ending.wait(_LOOK_S):
            self._look()
            self._seen_s = monotonic()

    def _look(self) -> None:
        for event in self._news.events(self.cameras()):
            self._publisher.publish(event)
        self._model.look()


class _Model:
    """One artifact for good, or a store's version in use."""

    def __init__(self, options: ModelOptions) -> None:
        key = Path(options.verify) if options.verify else None
        open_reader: Callable[[Path], Reader] = partial(
            Reader.open,
            threads=options.threads,
            hint=options.hint,
            max_batch=options.max_batch,
            cache_dir=Path(options.cache_dir) if options.cache_dir else None,
            verify=key,
            queue=options.queue,
            keep_scores=True,
        )
        self._failing_s: float | None = None
        self._deployment: Deployment | None = None
        if options.artifact:
            self.reader = open_reader(Path(options.artifact))
        else:
            versions = Versions(options.store, key=key)
            self._deployment = Deployment(versions, open_reader, options.follow)
            self.reader = self._deployment.reader

    def close(self) -> None:
        (self._deployment or self.reader).close()

    def versions(self) -> Sequence[VersionRow]:
        if self._deployment is None:
            info = self.reader.info
            return [VersionRow(name=info.id, version=info.version, current=True)]
        status, store = self._deployment.status(), self._deployment.versions
        return [
            VersionRow(
                name=name,
                version=Manifest.load(store.path(name)).version,
                current=name == status.version,
                note=_note(name, status.version, status.reason, status.rejected),
            )
            for name in store.names()
        ]

    def use(self, name: str) -> str:
        if self._deployment is None:
            raise ConfigError("this gateway reads with one artifact for good; set model.store")
        self._deployment.use(name)
        return f"reading with {name}"

    def follow(self) -> None:
        if self._deployment is not None:
            self._deployment.reload()

    def look(self) -> None:
        """Note since when nothing is answered."""
        if self.reader.health().state != FAILED:
            self._failing_s = None
        elif self._failing_s is None:
            self._failing_s = monotonic()

    def ailing(self) -> str:
        since_s = self._failing_s
        if since_s is None or monotonic() - since_s < _PATIENCE_S:
            return ""
        return self.reader.health().reason


def _note(name: str, current: str, reason: str, rejected: Mapping[str, str]) -> str:
    if name in rejected:
        return rejected[name]
    return reason if name == current else ""


def _sinks(options: GatewayOptions) -> Sequence[Sink]:
    return [
        *(JsonLines(each) for each in options.json_lines),
        *(Webhook(each) for each in options.webhook),
        *(Mqtt(each) for each in options.mqtt),
    ]


class _CameraNews:
    """Events of cameras that came or went; not each of the states in between."""

    def __init__(self, cameras: Sequence[WatchedCamera]) -> None:
        self._told = {camera.name: "" for camera in cameras}

    def events(self, found: Sequence[CameraStatus]) -> Sequence[Event]:
        news = []
        for status in found:
            told = self._told[status.name]
            state = status.state
            # A camera that never ran is told of as well, once it had its time to connect.
            if state in (told, "connecting"):
                continue
            if state not in _STEADY and told and told not in _STEADY:
                continue  # from one way of being away to another
            self._told[status.name] = state
            _LOG.info("camera %s: %s", status.name, state)
            news.append(
                camera_event(status.name, state, status.reason or None, datetime.now(timezone.utc))
            )
        return news
