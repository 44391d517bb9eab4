"""Golden vectors: real input crops and the scores that they must give, ``golden.npz``.

Digests prove that a file is the one that was exported; only running it proves that this engine on
this machine still computes it. Loading an artifact therefore scores its golden images first.

Two things are compared, because engines differ honestly in one way and are damaged in another. A
CPU that adds 8-bit products in 16 bits clips a few crops, each by any probability, and leaves the
rest alone; other weights move the scores of every crop a little, sure answers still by nothing that
a probability shows. So few crops of an integer engine may miss the tolerance, and the logits of the
crops that moved least may drift by a share of their size only.
"""

from __future__ import annotations

import lzma
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from .arrays import Floats, Images, Logits
from .errors import ArtifactError, EngineError
from .manifest import GOLDEN_FILE, Manifest
from .preprocess import InputSpec
from .schema import Head, HeadKind, Schema
from .scores import probabilities
from .session import Session

__all__ = ["Golden", "GoldenReport", "check_golden", "load_golden", "write_golden"]

_IMAGES: Final = "images"
_SCORES: Final = "scores/"
_INTEGER: Final = frozenset({"int8", "dynamic"})
"""Precisions whose engines may miss the tolerance on a few crops."""
_CROPS_PER_MISS: Final = 8
"""Without VNNI, OpenVINO missed on 1 to 2 % of the crops that six INT8 networks were sure of: one
artifact in five then has one among its 16, one in two hundred more than two."""
_DRIFT_PER_TOLERANCE: Final = 0.4
"""Drift that is allowed, per tolerance: 0.1 for INT8. Those six networks without VNNI drifted by
0.04, at most 0.08 on the worst of 2,000 draws of 16 crops; weights whose noise flips 6 of 194
answers drift by 0.11 to 0.14. BF16 against FP32 is 0.004, of 0.04 allowed."""
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
    missed: int
    """Images where that is exceeded; only integer engines have any."""
    drift: float
    """How far logits are from the golden ones, as a share of their size; see ``_drift``."""


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
        EngineError: probabilities differ by more than ``manifest.golden_tolerance`` on more images
            than allowed, or logits drift by more than ``_DRIFT_PER_TOLERANCE`` of it.
    """
    if golden is None:
        golden = load_golden(folder / GOLDEN_FILE, manifest.schema, manifest.input)
    parts = [
        session.run(golden.images[start : start + batch])
        for start in range(0, len(golden.images), batch)
    ]
    heads = manifest.schema.heads
    found = {head.name: np.concatenate([part[head.name] for part in parts]) for head in heads}
    with np.errstate(invalid="ignore"):  # infinite scores; the NaN they give is caught
        apart = np.stack([_apart(head, found, golden) for head in heads])
        drift = _drift(heads, found, golden)
    tolerance = manifest.golden_tolerance
    # Written as "not within" so that a NaN, which compares false, misses; and is never allowed.
    missed = int((~(apart <= tolerance)).any(axis=0).sum())
    allowed = len(golden.images) // _CROPS_PER_MISS if manifest.precision in _INTEGER else 0
    # NumPy's argmax takes a NaN for the largest.
    head, image = divmod(int(apart.argmax()), len(golden.images))
    worst = float(apart[head, image])
    if not (np.isfinite(worst) and missed <= allowed):
        raise _differs(
            f"{folder}: head {heads[head].name!r} differs from the golden vectors by {worst:.4g}, "
            f"allowed is {tolerance:g}; {missed} of {len(golden.images)} crops differ by more, "
            f"allowed are {allowed}",
            session,
        )
    if not drift <= _DRIFT_PER_TOLERANCE * tolerance:
        raise _differs(
            f"{folder}: scores drifted from the golden vectors by {drift:.4g} of their size, "
            f"allowed is {_DRIFT_PER_TOLERANCE * tolerance:.4g}",
            session,
        )
    return GoldenReport(
        samples=len(golden.images),
        max_abs_diff=worst,
        worst_head=heads[head].name,
        tolerance=tolerance,
        missed=missed,
        drift=drift,
    )


def _differs(what: str, session: Session) -> EngineError:
    return EngineError(
        f"{what}; this engine on this machine ({dict(session.description)}) does not compute what "
        "was exported: export on this machine, or choose another precision or engine"
    )


def _apart(head: Head, found: Logits, golden: Golden) -> npt.NDArray[np.float64]:
    """Return the largest difference of a probability of each image: (G,)."""
    expected = probabilities(head, golden.logits[head.name])
    difference: npt.NDArray[np.float64] = np.abs(
        probabilities(head, found[head.name]) - expected
    ).max(axis=1)
    return difference


def _drift(heads: Sequence[Head], found: Logits, golden: Golden) -> float:
    """Return the lower quartile, over images, of how far logits are from the golden ones.

    Of an image, that is the mean difference of its logits divided by their mean size, both added
    up over heads; a choice head's logits count from their mean, as what they have in common decides
    nothing.
    """
    difference, size = np.zeros((2, len(golden.images)))
    for head in heads:
        expected = _centred(head, golden.logits[head.name])
        difference += np.abs(_centred(head, found[head.name]) - expected).mean(axis=1)
        size += np.abs(expected).mean(axis=1)
    # Where all golden logits are 0, any difference is infinitely large.
    shares = np.divide(difference, size, out=np.where(difference > 0, np.inf, 0.0), where=size > 0)
    return float(np.sort(shares)[len(shares) // 4])


def _centred(head: Head, logits: Floats) -> npt.NDArray[np.float64]:
    values = np.asarray(logits, np.float64)
    if head.kind is HeadKind.CHOICE:
        values = values - values.mean(axis=1, keepdims=True)
    return values
