"""The artifact in use, and putting another in its place while it is being used.

Readers take whichever ``Loaded`` they find, without a lock, and count themselves in, so that its
engine is freed only after the last of them. Requests are fitted to one network's input and stay
with its queue and lanes; whoever comes to a queue that was just retired is sent on to the next.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import TypeVar

import numpy as np

from .arrays import Image
from .errors import ClosedError, ConfigError, HeadlightError, ImageError
from .health import Health
from .loading import Loaded
from .manifest import Manifest
from .preprocess import InputSpec, fit
from .queue import CLOSED, Request
from .results import Result
from .session import Session
from .statistics import Counters, Stats

__all__ = ["InUse"]

T = TypeVar("T")


class InUse:
    """What a reader reads with now; any thread may call.

    Args:
        load: Makes a ``Loaded``.
        manifest: Of the first artifact.
        session: Its engine.
        counters: Those of all that ``load`` makes.
    """

    def __init__(
        self,
        load: Callable[[Manifest, Session], Loaded],
        manifest: Manifest,
        session: Session,
        counters: Counters,
    ) -> None:
        self._load = load
        self.counters = counters
        self._replacing = threading.Lock()
        self._swapping = threading.Lock()
        self._closed = False
        self._process = os.getpid()
        self._take(load(manifest, session))

    def _take(self, loaded: Loaded) -> None:
        self.loaded = loaded
        # When it is forgotten, or the interpreter ends: lanes that are in an engine then can crash.
        self._at_exit = weakref.finalize(self, loaded.dispatcher.stop_at_end)

    def check_open(self) -> None:
        """Fail where nothing can be read any more.

        Raises:
            ClosedError: it was closed, or this process is a fork of the one that opened it.
        """
        if self._closed:
            raise ClosedError(CLOSED)
        if self._process != os.getpid():
            raise ClosedError(
                f"the reader was opened by process {self._process}; engines do not survive a fork: "
                "open the artifact in the process that reads"
            )

    def health(self) -> Health:
        """Return the state of the artifact in use; its past is not its successor's."""
        loaded = self.loaded
        full = loaded.dispatcher.queue.full
        return loaded.answerer.vitals.judge(closed=self._closed, full=full)

    def stats(self) -> Stats:
        """Return the counters of this artifact and of those before."""
        queue = self.loaded.dispatcher.queue
        return self.counters.read(waiting=len(queue), deepest=queue.deepest)

    def answer(
        self, part: Sequence[T], prepare: Callable[[T, InputSpec], Image]
    ) -> list[Result | HeadlightError]:
        """Have one artifact answer what ``prepare`` makes of each of at most a batch."""
        loaded = self._enter()
        try:
            began = perf_counter_ns()
            spec = loaded.manifest.input
            prepared = [_prepared(item, prepare, spec) for item in part]
            return loaded.answerer.read(prepared, began)
        finally:
            loaded.calls.pop()

    def _enter(self) -> Loaded:
        """Return the artifact in use, which is kept until ``calls.pop()``."""
        while True:
            loaded = self.loaded
            loaded.calls.append(None)
            # Whoever swaps looks at the calls after the swap, so one of both sees the other.
            if loaded is self.loaded:
                return loaded
            loaded.calls.pop()

    def request(self, image: Image, tag: object, deadline_ms: float | None) -> Request:
        """Return a request whose image is fitted to the artifact in use.

        Raises:
            ImageError: ``image`` is no image.
        """
        began = perf_counter_ns()
        loaded = self.loaded
        fitted = _own(image, loaded.manifest.input)
        prepare_ns = perf_counter_ns() - began
        request = loaded.dispatcher.request(
            fitted, tag=tag, deadline_ms=deadline_ms, prepare_ns=prepare_ns
        )
        request.home = loaded
        return request

    def put(self, request: Request, image: Image, *, wait: bool = True) -> bool:
        """Queue what ``request`` made of ``image``; False if that would block and may not."""
        home: Loaded = request.home
        while not home.dispatcher.submit(request, wait=wait):
            if home is self.loaded:
                return False
            # Replaced meanwhile: its image may have the wrong size for the new network.
            request.home = home = self.loaded
            request.image = _own(image, home.manifest.input)
        return True

    def replace(
        self, opened: Callable[[Manifest], tuple[Manifest, Session]], drain_s: float
    ) -> None:
        """Put another artifact in the place of the one in use; on any error nothing changes.

        Args:
            opened: Given the manifest in use, returns the next manifest and session.
            drain_s: How long requests that wait may still be answered by the old engine.

        Raises:
            ConfigError: a lane calls, which would wait for itself; or the caller's thresholds do
                not fit.
            ClosedError: the reader was closed, perhaps meanwhile.
            HeadlightError: as ``opened``.
        """
        self.check_open()
        if self.loaded.dispatcher.is_lane:
            raise ConfigError("a reader cannot be reloaded from a callback of its futures")
        with self._replacing:
            old = self.loaded
            manifest, session = opened(old.manifest)
            try:
                new = self._load(manifest, session)
                new.warm_up()
                with self._swapping:
                    self.check_open()
                    new.dispatcher.queue.deepest = old.dispatcher.queue.deepest
                    old_at_exit = self._at_exit
                    self._take(new)
            except BaseException:
                session.close()
                raise
        # Not under the lock: where the old engine hangs, the next one need not wait for it.
        old.stop(drain_s, replaced=True)
        old_at_exit.detach()

    def close(self, drain_s: float) -> None:
        """End what is in use; a second call does nothing."""
        # In a forked child, locks may be held by threads that do not exist there.
        if self._process != os.getpid():
            self._closed = True
            return
        with self._swapping:
            if self._closed:
                return
            self._closed = True
            loaded = self.loaded
        self._at_exit.detach()
        loaded.stop(drain_s)


def _prepared(
    item: T, prepare: Callable[[T, InputSpec], Image], spec: InputSpec
) -> Image | ImageError:
    try:
        return prepare(item, spec)
    except ImageError as error:
        return error


def _own(image: Image, spec: InputSpec) -> Image:
    """Return an image at the network's input size that shares no memory with ``image``."""
    fitted = fit(image, spec)
    return fitted.copy() if np.may_share_memory(fitted, image) else fitted
