"""Running an engine over labelled crops, through the runtime's own code.

What is named is an artifact folder, or a bare model with its description (``foreign``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from runtime.arrays import Logits
from runtime.errors import ConfigError, DataError
from runtime.golden import check_golden
from runtime.manifest import MANIFEST_FILE, Manifest
from runtime.preprocess import InputSpec, fit_many
from runtime.schema import Schema
from runtime.session import Session, SessionOptions, open_session

from .foreign import ForeignManifest, find_description, foreign_manifest, open_foreign
from .labelled import LabelledCrops

__all__ = [
    "check_apart",
    "common_schema",
    "is_model",
    "load_manifest",
    "model_facts",
    "open_engine",
    "origin",
    "score_crops",
]


def is_model(path: Path) -> bool:
    """Whether ``path`` is something that can be opened: an artifact, or a bare model's."""
    if path.is_dir():
        return (path / MANIFEST_FILE).is_file()
    if path.suffix == ".json":  # so are results of earlier runs
        with suppress(OSError, ValueError):
            value = json.loads(path.read_text(encoding="utf-8"))
            return isinstance(value, dict) and "engine" in value and "command" not in value
        return False
    return find_description(path) is not None


def load_manifest(path: Path) -> Manifest:
    """Return what an artifact, or the description of a bare model, says of itself.

    Raises:
        ArtifactError: the folder is no artifact.
        ConfigError: a bare model without a description, or with a wrong one.
    """
    description = find_description(path)
    return Manifest.load(path) if description is None else foreign_manifest(description)


def model_facts(manifest: Manifest) -> Mapping[str, Any]:
    """Return what a result says of a model, so that a report needs not have it at hand."""
    return {
        "engine": manifest.engine,
        "precision": manifest.precision,
        "version": manifest.version,
        "schema": manifest.schema.name,
        "heads": {head.name: len(head.labels) for head in manifest.schema.heads},
        "input": manifest.input.to_object(),
        "files": {name: asdict(record) for name, record in manifest.files.items()},
        "bare_model": isinstance(manifest, ForeignManifest),
    }


@contextmanager
def open_engine(
    folder: Path, *, threads: int = 1, hint: str = "latency"
) -> Iterator[tuple[Manifest, Session]]:
    """Check an artifact as the reader does, load its engine, and close it at the end.

    A bare model is checked against its description instead.

    Raises:
        ArtifactError: the folder is no artifact or a file of it was changed.
        ConfigError: a bare model without a description, or not what it says.
        EngineError: the engine is not installed, refuses the file or misses the golden vectors.
    """
    options = SessionOptions(threads=threads, hint=hint)
    description = find_description(folder)
    manifest: Manifest
    if description is not None:
        manifest, session = open_foreign(description, options)
    else:
        manifest = Manifest.load(folder)
        manifest.check_files(folder)
        session = open_session(folder, manifest, options)
    try:
        if description is None:
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
