"""A build kit: everything a device needs to build and prove an engine, in one folder.

===============  ==================================================================================
``kit.json``     what to build and how; size and SHA-256 of every other file
``model.onnx``   the graph in its precision, as TensorRT reads it
``crops.npz``    the validation crops, their truth, and the checkpoint's logits of them
``build.sh``     the command to run on the device
``proof.*``      TensorRT-RTX only: the engine that was built without a GPU, and its build log
===============  ==================================================================================

A kit is no artifact: nothing in it was proven, so readers refuse it. Imports neither torch nor
onnx.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.crops.targets import Targets, empty_targets
from export.parity import GateConfig
from export.proof import Crops
from runtime.arrays import Images, Logits
from runtime.errors import ArtifactError
from runtime.manifest import KIT_FILE, FileRecord, Manifest
from runtime.schema import Schema
from runtime.staging import write_text
from runtime.strict import StrictObject, parse_json

from .options import BuildOptions

__all__ = ["GRAPH_FILE", "SCRIPT_FILE", "Kit", "KitCrops", "load_kit", "write_kit"]

KIT_VERSION: Final = 2
GRAPH_FILE: Final = "model.onnx"
CROPS_FILE: Final = "crops.npz"
SCRIPT_FILE: Final = "build.sh"
_SCRIPT: Final = """#!/bin/sh
# Builds and proves the engine on this device: sh build.sh --output ARTIFACT
exec python3 -m export.trt.kit "$(dirname "$0")" "$@"
"""
_BATCH: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class KitCrops:
    """N labelled crops from a kit; what ``export.proof.Crops`` asks for."""

    images: Images
    """(N, height, width, 3) uint8."""
    targets: Targets
    texts: Sequence[str]
    origin: str

    def __len__(self) -> int:
        return len(self.images)

    def images_at(self, index: npt.NDArray[np.int64]) -> Images:
        """Return the crops at ``index``."""
        return self.images[index]

    def image_batches(self, batch: int) -> Iterator[Images]:
        """Yield all crops in order, ``batch`` at a time."""
        return (self.images[start : start + batch] for start in range(0, len(self), batch))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """A build kit."""

    draft: Manifest
    """Of the artifact to make; its engine file is the graph, its golden vectors are none."""
    options: BuildOptions
    target: str
    """Version of TensorRT, at least, that the graph was checked for; ``rtx`` for any RTX."""
    gate: GateConfig
    precision_floor: float
    crops: Crops
    expected: Logits
    """The checkpoint's logits, head name to (N, K)."""


def write_kit(folder: Path, kit: Kit) -> None:
    """Complete a staged folder that holds ``model.onnx``, and maybe a proof, to a kit."""
    np.savez_compressed(folder / CROPS_FILE, allow_pickle=False, **_to_arrays(kit))
    (folder / SCRIPT_FILE).write_text(_SCRIPT, encoding="utf-8")
    files = {path.name: FileRecord.of(path) for path in sorted(folder.iterdir())}
    value = {
        "kit_version": KIT_VERSION,
        "manifest": json.loads(kit.draft.to_json()),
        "build": kit.options.to_object(),
        "target": kit.target,
        "gate": asdict(kit.gate),
        "precision_floor": kit.precision_floor,
        "crops_origin": kit.crops.origin,
        "files": {name: asdict(record) for name, record in files.items()},
    }
    write_text(folder / KIT_FILE, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def load_kit(folder: Path) -> Kit:
    """Read a kit and check every file of it.

    Raises:
        ArtifactError: no kit, or a file of it is missing, changed or not listed.
    """
    path = folder / KIT_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"{path} cannot be read ({error}); expected a build kit as written by python -m "
            "export.trt"
        ) from error
    with StrictObject(parse_json(text, KIT_FILE, ArtifactError), KIT_FILE, ArtifactError) as item:
        version = item.integer("kit_version")
        if version != KIT_VERSION:
            raise ArtifactError(
                f"{path}: kit version {version} is not {KIT_VERSION}, the one this Headlight reads"
            )
        _check_files(folder, item.mapping("files"))
        draft = Manifest.from_json(json.dumps(item.mapping("manifest")))
        crops, expected = _from_arrays(folder / CROPS_FILE, draft, item.text("crops_origin"))
        with StrictObject(item.mapping("gate"), "gate", ArtifactError) as limits:
            gate = GateConfig(
                **{field.name: limits.optional_number(field.name) for field in fields(GateConfig)}
            )
        return Kit(
            draft=draft,
            options=BuildOptions.from_object(item.mapping("build")),
            target=item.text("target"),
            gate=gate,
            precision_floor=item.number("precision_floor"),
            crops=crops,
            expected=expected,
        )


def _check_files(folder: Path, listed: Mapping[str, Any]) -> None:
    there = {path.name for path in folder.iterdir()} - {KIT_FILE}
    if there != set(listed) or not {GRAPH_FILE, CROPS_FILE} <= there:
        raise ArtifactError(
            f"{folder}: the kit lists {sorted(listed)}, the folder has {sorted(there)}; copy it "
            "again"
        )
    for name, value in listed.items():
        path = folder / name
        if path.is_symlink() or not path.is_file() or asdict(FileRecord.of(path)) != value:
            raise ArtifactError(f"{path} was changed or is no plain file; copy the kit again")


def _to_arrays(kit: Kit) -> dict[str, npt.NDArray[Any]]:
    """Return what ``_from_arrays`` reads."""
    crops = kit.crops
    return {
        "images": np.concatenate([*crops.image_batches(_BATCH)]),
        "texts": np.array(list(crops.texts)),
        **{f"choice/{name}": values for name, values in crops.targets.choices.items()},
        **{f"labels/{name}": values for name, values in crops.targets.labels.items()},
        **{f"logits/{name}": values for name, values in kit.expected.items()},
    }


def _from_arrays(path: Path, draft: Manifest, origin: str) -> tuple[KitCrops, Logits]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{path} cannot be read: {error}; copy the kit again") from error
    count = len(arrays.get("texts", ()))
    found = {name: (value.dtype.kind, value.shape) for name, value in arrays.items()}
    expected = _layout(draft.schema, draft.input.shape, count)
    if found != expected or not count:
        raise ArtifactError(f"{path}: expected arrays {expected} with rows, got {found}")
    truth = empty_targets(draft.schema, count)
    crops = KitCrops(
        images=arrays["images"],
        targets=Targets(
            {name: arrays[f"choice/{name}"] for name in truth.choices},
            {name: arrays[f"labels/{name}"] for name in truth.labels},
        ),
        texts=arrays["texts"].tolist(),
        origin=origin,
    )
    return crops, {head.name: arrays[f"logits/{head.name}"] for head in draft.schema.heads}


def _layout(
    schema: Schema, shape: tuple[int, ...], count: int
) -> Mapping[str, tuple[str, tuple[int, ...]]]:
    """Return the arrays of ``count`` crops: name to kind of number and shape."""
    truth = empty_targets(schema, count)
    return {
        "images": ("u", (count, *shape)),
        "texts": ("U", (count,)),
        **{f"choice/{name}": ("i", values.shape) for name, values in truth.choices.items()},
        **{f"labels/{name}": ("i", values.shape) for name, values in truth.labels.items()},
        **{f"logits/{head.name}": ("f", (count, head.size)) for head in schema.heads},
    }
