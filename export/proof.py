"""Proving an engine on real crops before anybody may load it; needs no torch.

The same steps run where an artifact is exported and, for engines that can only be built where they
run, on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from benchmarks.operating_point import fit_operating_point
from benchmarks.targets import Targets
from runtime.arrays import Images, Logits
from runtime.errors import ParityError
from runtime.golden import check_golden, write_golden
from runtime.manifest import GOLDEN_FILE, FileRecord, Manifest
from runtime.session import SessionOptions, open_session

from .parity import GateConfig, Parity, compare_answers

__all__ = ["Crops", "prove"]

_GOLDEN_CROPS: Final = 16
_BATCH: Final = 32


class Crops(Protocol):
    """N labelled real crops at the input size, as ``train.data.CropSet`` has them."""

    @property
    def targets(self) -> Targets:
        """Their truth."""

    @property
    def texts(self) -> Sequence[str]:
        """N label columns."""

    @property
    def digest(self) -> str:
        """SHA-256 of what they were read from."""

    def __len__(self) -> int: ...

    def images_at(self, index: npt.NDArray[np.int64]) -> Images:
        """Return the crops at ``index``: (len(index), height, width, 3) uint8."""

    def image_batches(self, batch: int) -> Iterator[Images]:
        """Yield all crops in order, ``batch`` at a time."""


def prove(
    draft: Manifest,
    folder: Path,
    crops: Crops,
    expected: Logits,
    *,
    gate: GateConfig,
    precision_floor: float,
) -> Manifest:
    """Run an engine on all crops, judge it, and complete its manifest.

    Golden vectors are written into ``folder``; thresholds and temperatures are fitted on the
    engine's own scores.

    Args:
        draft: The manifest so far; its record of the golden vectors is a placeholder.
        folder: The staged artifact, engine files inside.
        crops: N real crops.
        expected: The checkpoint's logits of them, head name to (N, K).
        gate: How much may differ.
        precision_floor: Precision that accepted answers must reach on ``crops``, in (0, 1].

    Raises:
        ParityError: the engine disagrees with the checkpoint or with itself.
        EngineError: it cannot be loaded or run.
    """
    session = open_session(folder, draft, SessionOptions(threads=1))
    try:
        found = _run(session.run, crops)
        names = [f"crop {i} {text}" for i, text in enumerate(crops.texts)]
        parity = compare_answers(draft.schema, expected, found, draft.operating, names)
        parity.require(gate, draft.precision)
        golden = crops.images_at(np.arange(min(_GOLDEN_CROPS, len(crops))))
        write_golden(folder / GOLDEN_FILE, golden, session.run(golden))
        operating = fit_operating_point(
            draft.schema,
            found,
            crops.targets,
            precision_floor=precision_floor,
            fitted_on=f"{len(crops)} crops, sha256 {crops.digest[:12]}",
        )
        manifest = replace(
            draft,
            operating=operating,
            files={**draft.files, GOLDEN_FILE: FileRecord.of(folder / GOLDEN_FILE)},
            parity=_report(parity, draft.precision, gate),
        )
        check_golden(session, manifest, folder)
    finally:
        session.close()
    return manifest


def _report(parity: Parity, precision: str, gate: GateConfig) -> Mapping[str, object]:
    flips_limit, score_limit = gate.limits(precision)
    return {
        **parity.to_object(),
        "limits": {"flips": flips_limit, "score_difference": score_limit},
    }


def _run(run: Callable[[Images], Logits], crops: Crops) -> Logits:
    """Score crops one by one, then in batches: both must give the same scores.

    Raises:
        ParityError: an answer depends on what else is in the batch.
    """
    alone, together = [], []
    for images in crops.image_batches(_BATCH):
        alone += [run(images[i : i + 1]) for i in range(len(images))]
        together.append(run(images))
    single = {name: np.concatenate([part[name] for part in alone]) for name in alone[0]}
    for name, values in single.items():
        other = np.concatenate([part[name] for part in together])
        apart = float(np.abs(values - other).max())
        # Kernels for other batch sizes may add in another order; an answer must not change.
        if not apart <= 0.05 * max(1.0, float(np.abs(values).max())):
            raise ParityError(
                f"head {name!r}: scores of a crop differ by {apart:.4f} between a batch of 1 and "
                f"of {_BATCH}; the engine is not batch-invariant"
            )
    return single
