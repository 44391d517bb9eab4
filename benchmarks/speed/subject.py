"""An opened artifact and the crops that it is timed with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.command import say
from benchmarks.foreign import find_description
from benchmarks.scoring import open_engine
from benchmarks.systems import EngineSystem, ReaderSystem
from runtime.arrays import Image, Images
from runtime.golden import load_golden
from runtime.manifest import GOLDEN_FILE, MANIFEST_FILE, Manifest
from runtime.preprocess import InputSpec, fit, fit_many
from runtime.reader import Reader
from runtime.session import Session

__all__ = ["Subject", "artifact_sizes_mb", "describe_crops", "engine_input", "open_subject"]

_OTHER_FILES: Final = frozenset({GOLDEN_FILE, MANIFEST_FILE})
_NOISE_PICTURES: Final = 16


@dataclass(frozen=True)
class Subject:
    """What is measured."""

    manifest: Manifest
    session: Session
    crops: Sequence[Image]
    """(H, W, 3) uint8 each."""
    max_batch: int

    @cached_property
    def reader(self) -> ReaderSystem:
        """The reader, with answers to the crops that it is checked against."""
        reader = Reader(self.manifest, self.session, max_batch=self.max_batch)
        system = ReaderSystem(reader, self.crops)
        if system.unsteady:
            say(
                f"note: {system.unsteady} of {len(self.crops)} crops are answered otherwise in a "
                "batch than alone; they are not timed"
            )
        return system

    def engine(self, batch: int) -> EngineSystem:
        """Return the engine alone, ready for calls of ``batch`` samples."""
        images = np.ascontiguousarray(fit_many(self.crops, self.manifest.input))
        return EngineSystem(self.session, self.manifest, images, batch=batch)


@contextmanager
def open_subject(
    folder: Path,
    *,
    threads: int,
    max_batch: int,
    crops: Sequence[Image] = (),
    hint: str = "latency",
) -> Iterator[Subject]:
    """Open an artifact to be timed.

    Args:
        folder: The artifact.
        threads: Threads of the engine.
        max_batch: Most samples of an engine call.
        crops: What to read; the golden crops, enlarged by half, if there are none: crops of the
            network's own size would skip the resize. A bare model has none, it gets noise.
        hint: ``latency`` or ``throughput``.

    Raises:
        ArtifactError: the folder is no artifact.
        EngineError: the engine cannot be loaded or run.
    """
    with open_engine(folder, threads=threads, hint=hint) as (manifest, session):
        if not crops:
            size = manifest.input
            larger = InputSpec(height=size.height * 3 // 2, width=size.width * 3 // 2)
            crops = [fit(image, larger) for image in _pictures(folder, manifest)]
        yield Subject(manifest, session, crops, max_batch)


def _pictures(folder: Path, manifest: Manifest) -> Images:
    if GOLDEN_FILE in manifest.files:
        return _golden(folder, manifest)
    say(f"note: {folder} has no golden crops, it is timed with pictures of noise; pass --data")
    random = np.random.default_rng(0)
    return random.integers(0, 256, (_NOISE_PICTURES, *manifest.input.shape), np.uint8)


def _golden(folder: Path, manifest: Manifest) -> Images:
    return load_golden(folder / GOLDEN_FILE, manifest.schema, manifest.input).images


def engine_input(folder: Path, manifest: Manifest, batch: int) -> Images:
    """Return (batch, height, width, 3) uint8: the golden crops, repeated as often as needed."""
    golden = _golden(folder, manifest)
    return golden[[index % len(golden) for index in range(batch)]]


def describe_crops(crops: Sequence[Image], *, own: bool) -> Mapping[str, str]:
    """Return what to write down as the crops that were timed, so that runs can be compared.

    Args:
        crops: (H, W, 3) uint8 each, at least one.
        own: Whether they came with the artifact. Of these the digest is of their sizes alone:
            another artifact's show other things, which costs no other time.
    """
    digest = sha256()
    for crop in crops[:1] if own else crops:  # an artifact's own have one size
        digest.update(repr(crop.shape).encode())
        digest.update(b"" if own else crop.tobytes())
    return {"from": "the artifact" if own else "--data", "sha256": digest.hexdigest()}


def artifact_sizes_mb(folder: Path, manifest: Manifest) -> tuple[float, float]:
    """Return the size of graph and weights, and of the whole folder, in 10^6 bytes."""
    sizes = {name: record.size_bytes / 1e6 for name, record in manifest.files.items()}
    engine = sum(size for name, size in sizes.items() if name not in _OTHER_FILES)
    described = find_description(folder) or folder / MANIFEST_FILE
    return engine, sum(sizes.values()) + described.stat().st_size / 1e6
