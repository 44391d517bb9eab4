"""Running an artifact's engine over labelled crops, through the runtime's own code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from runtime.arrays import Logits
from runtime.errors import ConfigError, DataError
from runtime.golden import check_golden
from runtime.manifest import Manifest
from runtime.preprocess import InputSpec, fit_many
from runtime.schema import Schema
from runtime.session import Session, SessionOptions, open_session

from .labelled import LabelledCrops

__all__ = ["check_apart", "common_schema", "open_engine", "origin", "score_crops"]


@contextmanager
def open_engine(folder: Path, *, threads: int = 1) -> Iterator[tuple[Manifest, Session]]:
    """Check an artifact as the reader does, load its engine, and close it at the end.

    Raises:
        ArtifactError: the folder is no artifact or a file of it was changed.
        EngineError: the engine is not installed, refuses the file or misses the golden vectors.
    """
    manifest = Manifest.load(folder)
    manifest.check_files(folder)
    session = open_session(folder, manifest, SessionOptions(threads=threads))
    try:
        check_golden(session, manifest, folder)
        yield manifest, session
    finally:
        session.close()


def score_crops(
    session: Session, spec: InputSpec, crops: LabelledCrops, *, batch: int = 32
) -> Logits:
    """Score all crops in order.

    Only ``batch`` pictures are in memory at a time.

    Returns:
        Head name to (N, K) float32.

    Raises:
        ConfigError: ``batch`` is below 1.
        DataError: there are no crops, or a picture vanished since the list was read.
    """
    if batch < 1:
        raise ConfigError(f"batch must be at least 1, got {batch}")
    if not len(crops):
        raise DataError(f"{crops.source}: no crops to score")
    parts = []
    for start in range(0, len(crops), batch):
        images = [crops.image(i) for i in range(start, min(start + batch, len(crops)))]
        parts.append(session.run(fit_many(images, spec)))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def origin(crops: LabelledCrops) -> str:
    """Return what to write down as the data that something was fitted or measured on."""
    return f"{crops.source}, {len(crops)} samples, sha256 {crops.digest}"


def check_apart(validation: LabelledCrops, test: LabelledCrops) -> None:
    """Fail when a picture is in both lists: thresholds picked on test data prove nothing.

    Raises:
        DataError: naming how many pictures and one of them.
    """
    shared = {path.resolve() for path in validation.paths} & {path.resolve() for path in test.paths}
    if shared:
        raise DataError(
            f"{len(shared)} pictures are in both {validation.source} and {test.source}, for "
            f"example {min(shared)}; fit thresholds on other pictures than those to judge them on"
        )


def common_schema(manifests: Mapping[str, Manifest]) -> Schema:
    """Return the schema that all artifacts answer.

    Raises:
        ConfigError: they answer different ones.
    """
    (first, manifest), *others = manifests.items()
    for name, other in others:
        if other.schema != manifest.schema:
            raise ConfigError(
                f"{first} answers the schema {manifest.schema.name!r}, {name} another one, "
                f"{other.schema.name!r}; only artifacts with the same heads, labels and readings "
                "can be compared"
            )
    return manifest.schema
