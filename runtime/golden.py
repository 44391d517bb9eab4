"""Golden vectors: real input crops and the scores that they must give, ``golden.npz``.

Digests prove that a file is the one that was exported; only running it proves that this engine on
this machine still computes it. Loading an artifact therefore scores its golden images first.
"""

from __future__ import annotations

import lzma
import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from .arrays import Images, Logits
from .errors import ArtifactError, EngineError
from .manifest import GOLDEN_FILE, Manifest
from .preprocess import InputSpec
from .schema import Schema
from .scores import probabilities
from .session import Session

__all__ = ["Golden", "GoldenReport", "check_golden", "load_golden", "write_golden"]

_IMAGES: Final = "images"
_SCORES: Final = "scores/"
_LARGEST_BYTES: Final = 256 << 20
"""Unpacked size that is refused: a small file may unpack to all of the memory."""
# What zipfile, zlib, lzma and numpy's header parser raise on a changed file, found by fuzzing.
_BROKEN: Final = (
    OSError, ValueError, EOFError, SyntaxError, RuntimeError, MemoryError,
    tokenize.TokenError, zipfile.BadZipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Golden:
    """Golden vectors."""

    images: Images
    """(G, height, width, 3) uint8, G >= 1, at the network's input size."""
    logits: Logits
    """Head name to (G, K) float32, in schema order."""


@dataclass(frozen=True, slots=True)
class GoldenReport:
    """How far an engine is from its golden vectors."""

    samples: int
    max_abs_diff: float
    """Largest difference of a probability, at temperature 1."""
    worst_head: str
    """The head where it occurs."""
    tolerance: float
    """What the manifest allows."""


def write_golden(path: Path, images: Images, logits: Logits) -> None:
    """Write golden vectors.

    Args:
        path: The ``.npz`` file to write.
        images: (G, height, width, 3) uint8.
        logits: Head name to (G, K), as the engine scored them when it was proven.

    Raises:
        ArtifactError: no image, another type, or a head of another length.
    """
    arrays: dict[str, npt.NDArray[np.uint8] | npt.NDArray[np.float32]] = {_IMAGES: images}
    for name, scores in logits.items():
        arrays[_SCORES + name] = np.asarray(scores, np.float32)
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) == 0:
        raise ArtifactError(
            f"golden images must be (G >= 1, height, width, 3) uint8, got {images.shape} "
            f"{images.dtype}"
        )
    for name, array in arrays.items():
        if len(array) != len(images) or not np.isfinite(array).all():
            raise ArtifactError(
                f"golden {name}: expected {len(images)} rows of finite values, got shape "
                f"{array.shape}"
            )
    np.savez_compressed(path, allow_pickle=False, **arrays)


def load_golden(path: Path, schema: Schema, spec: InputSpec) -> Golden:
    """Read golden vectors, refusing anything but the arrays that the schema asks for.

    Raises:
        ArtifactError: not such a file, or arrays of other names, types or shapes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > _LARGEST_BYTES:
            raise ArtifactError(f"{path} unpacks to {size} bytes, more than {_LARGEST_BYTES}")
        with np.load(path, allow_pickle=False) as file:
            # A member that does not start like an array comes back as bytes.
            arrays = {name: np.asarray(file[name]) for name in file.files}
    except _BROKEN as error:
        raise ArtifactError(f"{path} is not a golden file: {error}") from error
    count = len(arrays[_IMAGES]) if _IMAGES in arrays and arrays[_IMAGES].ndim else 0
    expected: dict[str, tuple[str, tuple[int, ...]]] = {_IMAGES: ("uint8", (count, *spec.shape))}
    expected |= {_SCORES + head.name: ("float32", (count, head.size)) for head in schema.heads}
    found = {name: (array.dtype.name, array.shape) for name, array in arrays.items()}
    if found != expected or count == 0:
        raise ArtifactError(f"{path}: expected arrays {expected} with rows, got {found}")
    return Golden(
        arrays[_IMAGES], {head.name: arrays[_SCORES + head.name] for head in schema.heads}
    )


def check_golden(
    session: Session,
    manifest: Manifest,
    folder: Path,
    *,
    batch: int = 1,
    golden: Golden | None = None,
) -> GoldenReport:
    """Score the golden images of an artifact and compare.

    Args:
        session: The loaded engine of this artifact.
        manifest: Its manifest.
        folder: The artifact.
        batch: Images per call. One at a time also warms up what a gateway calls most.
        golden: Its golden vectors, where they were read before the engine was loaded.

    Raises:
        ArtifactError: there is no usable golden file.
        EngineError: a probability differs by more than ``manifest.golden_tolerance``.
    """
    if golden is None:
        golden = load_golden(folder / GOLDEN_FILE, manifest.schema, manifest.input)
    parts = [
        session.run(golden.images[start : start + batch])
        for start in range(0, len(golden.images), batch)
    ]
    worst, worst_head = 0.0, manifest.schema.heads[0].name
    for head in manifest.schema.heads:
        with np.errstate(invalid="ignore"):  # infinite scores; the NaN they give is caught
            found = probabilities(head, np.concatenate([part[head.name] for part in parts]))
        difference = np.abs(found - probabilities(head, golden.logits[head.name])).max()
        # Written as "not within" so that a NaN, which compares false, also becomes the worst.
        if not difference <= worst:
            worst, worst_head = float(difference), head.name
        if not difference <= manifest.golden_tolerance:
            raise EngineError(
                f"{folder}: head {head.name!r} differs from the golden vectors by "
                f"{difference:.4g}, allowed is {manifest.golden_tolerance:g}; this engine on "
                f"this machine ({dict(session.description)}) does not compute what was "
                "exported: export on this machine, or choose another precision or engine"
            )
    return GoldenReport(len(golden.images), worst, worst_head, manifest.golden_tolerance)
