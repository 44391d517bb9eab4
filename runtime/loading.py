"""An artifact that is in use, and how it comes to be: verified, tried, loaded, proven, warm.

What a ``Loaded`` holds never changes. A reader swaps one for another by a single assignment, and
who reads takes whichever it finds, without a lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Final

import numpy as np

from .answering import Answerer
from .dispatch import Dispatcher
from .errors import SchemaError
from .golden import check_golden, load_golden
from .manifest import GOLDEN_FILE, Manifest
from .queue import QueueOptions
from .schema import Schema
from .session import Session, SessionOptions, open_session
from .statistics import Counters
from .thresholds import Thresholds
from .trial import trial_load
from .trust import load_manifest

__all__ = ["LoadOptions", "Loaded", "check_heads", "open_proven"]

_GRACE_S: Final = 1.0
"""How long calls may take to end after ``drain_s``."""
_POLL_S: Final = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How to load artifacts; see ``Reader.open``."""

    session: SessionOptions
    check_golden: bool = True
    key: Path | None = None


def open_proven(
    folder: Path,
    options: LoadOptions,
    *,
    trial: bool,
    minimum_version: int,
    like: Schema | None = None,
) -> tuple[Manifest, Session]:
    """Verify an artifact and load its engine.

    Args:
        folder: The artifact.
        options: Engine options and the key that must have signed.
        trial: Load it in a child process first.
        minimum_version: The lowest version to accept.
        like: Refuse other heads than these.

    Raises:
        HeadlightError: as ``Reader.reload``.
    """
    manifest = load_manifest(folder, key=options.key, minimum_version=minimum_version)
    if like is not None:
        check_heads(like, manifest.schema, str(folder))
    manifest.check_files(folder)
    # Before the engine is loaded: whatever can be refused without it, is.
    golden = load_golden(folder / GOLDEN_FILE, manifest.schema, manifest.input)
    if trial:
        trial_load(folder, options.session)
    session = open_session(folder, manifest, options.session)
    try:
        if options.check_golden:
            check_golden(session, manifest, folder, golden=golden)
    except BaseException:
        session.close()
        raise
    return manifest, session


class Loaded:
    """An artifact with its engine, decoder, queue and lanes; any thread may call.

    Args:
        manifest: Of the artifact.
        session: Its engine.
        max_batch: Images per engine call at most.
        queue: Of submitted images.
        thresholds: Instead of the artifact's.
        keep_scores: Whether results carry scores.
        counters: Go on counting in these.

    Raises:
        ConfigError: the thresholds do not fit the schema.
    """

    __slots__ = ("answerer", "calls", "dispatcher", "manifest", "operating")

    def __init__(
        self,
        manifest: Manifest,
        session: Session,
        *,
        max_batch: int,
        queue: QueueOptions | None = None,
        thresholds: Thresholds | None = None,
        keep_scores: bool = False,
        counters: Counters | None = None,
    ) -> None:
        self.manifest = manifest
        self.operating = manifest.operating
        if thresholds is not None:
            self.operating = thresholds.applied(manifest.operating, manifest.schema)
        self.answerer = Answerer(
            manifest, session, self.operating, keep_scores=keep_scores, counters=counters
        )
        self.dispatcher = Dispatcher(self.answerer, queue or QueueOptions(), batch=max_batch)
        # Appending and popping need no lock; the length is the number of callers inside.
        self.calls: list[None] = []

    def warm_up(self) -> None:
        """Have the engine prepare for the batches that may come: two to the largest.

        Raises:
            EngineError: the engine failed.
        """
        largest = self.dispatcher.batch
        for count in sorted({1, min(2, largest), largest}):
            self.answerer.warm_up(np.zeros((count, *self.manifest.input.shape), np.uint8))

    def stop(self, drain_s: float, *, replaced: bool = False) -> None:
        """Let calls and waiting requests end, then free the engine, unless it hangs.

        Args:
            drain_s: How long waiting requests may still be answered.
            replaced: Whether ``submit`` is to send requests elsewhere instead of ending them.
        """
        until_s = monotonic() + drain_s + _GRACE_S
        idle = (self.dispatcher.retire if replaced else self.dispatcher.stop)(drain_s)
        while self.calls and monotonic() < until_s:
            sleep(_POLL_S)
        if idle and not self.calls:
            self.answerer.session.close()


def check_heads(schema: Schema, successor: Schema, what: str) -> None:
    """Fail unless whoever knows the answers of one schema also knows those of the other.

    Formats of readings may differ: they decide which texts come, not what a text is.

    Raises:
        SchemaError: other heads, labels or readings.
    """
    for kind, old, new in (
        ("heads", _heads(schema), _heads(successor)),
        ("readings", _readings(schema), _readings(successor)),
    ):
        different = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
        if different:
            raise SchemaError(
                f"{what}: {kind} {different} are missing, new, or have other labels than those of "
                "the artifact in use, on which others may rely; open it anew, or reload with "
                "other_heads=True"
            )


def _heads(schema: Schema) -> Mapping[str, object]:
    return {head.name: (head.kind, head.labels) for head in schema.heads}


def _readings(schema: Schema) -> Mapping[str, object]:
    return {reading.name: (reading.heads, reading.blank) for reading in schema.readings}
