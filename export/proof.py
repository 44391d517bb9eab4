"""Proving an engine on real crops before anybody may load it; needs no torch.

The same steps run where an artifact is exported and, for engines that can only be built where they
run, on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from benchmarks.command import say
from benchmarks.crops.targets import Targets
from benchmarks.operating_point import fit_operating_point
from runtime.arrays import Images, Logits
from runtime.errors import ParityError
from runtime.golden import check_golden, write_golden
from runtime.manifest import GOLDEN_FILE, FileRecord, Manifest
from runtime.session import Session, SessionOptions, open_session

from .golden_crops import choose_golden
from .parity import GateConfig, Parity, compare_answers

__all__ = ["Crops", "prove"]

_GOLDEN_CROPS: Final = 16
_BATCH: Final = 32
_REPEATED: Final = 256
"""Crops, at most, that are scored again, by the same session and by one with two threads."""


class Crops(Protocol):
    """N labelled real crops at the input size, as ``train.data.CropSet`` has them."""

    @property
    def targets(self) -> Targets:
        """Their truth."""

    @property
    def texts(self) -> Sequence[str]:
        """N label columns."""

    @property
    def origin(self) -> str:
        """How many they are, and digests of what they were read from."""

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
    observe: Callable[[Parity], object] | None = None,
) -> Manifest:
    """Run an engine on all crops, judge it, and complete its manifest.

    The engine must give the answers of the checkpoint, and its own again: a crop alone and among
    others, when it is asked twice, and on two threads. Golden vectors are written into ``folder``;
    thresholds and temperatures are fitted on the engine's own scores.

    Args:
        draft: The manifest so far; its record of the golden vectors is a placeholder.
        folder: The staged artifact, engine files inside.
        crops: N real crops.
        expected: The checkpoint's logits of them, head name to (N, K).
        gate: How much may differ.
        precision_floor: Precision that accepted answers must reach on ``crops``, in (0, 1].
        observe: Called with the comparison before it is judged, so that it can be shown though
            the gate fails.

    Raises:
        ParityError: the engine disagrees with the checkpoint or with itself.
        EngineError: it cannot be loaded or run.
    """
    with closing(open_session(folder, draft, SessionOptions(threads=1))) as session:
        found, together = _run(session, crops)
        names = [f"crop {i} {text}" for i, text in enumerate(crops.texts)]
        parity = compare_answers(draft.schema, expected, found, draft.operating, names)
        if observe is not None:
            observe(parity)
        parity.require(gate, draft.precision)
        caution = parity.caution(gate.limits(draft.precision)[0])
        if caution:
            say(f"note: {caution}")
        apart = _check_itself(draft, folder, crops, session, found, together, gate)
        _write_golden(draft, folder, crops, session, found)
        manifest = replace(
            draft,
            operating=fit_operating_point(
                draft.schema,
                found,
                crops.targets,
                precision_floor=precision_floor,
                fitted_on=crops.origin,
            ),
            files={**draft.files, GOLDEN_FILE: FileRecord.of(folder / GOLDEN_FILE)},
            passport={**draft.passport, **_really(session)},
            parity={**_report(parity, draft.precision, gate), "own_differences": apart},
        )
        check_golden(session, manifest, folder)
    return manifest


def _write_golden(
    draft: Manifest, folder: Path, crops: Crops, session: Session, found: Logits
) -> None:
    chosen = choose_golden(
        draft.schema, found, count=_GOLDEN_CROPS, tolerance=draft.golden_tolerance
    )
    golden = crops.images_at(chosen)
    write_golden(folder / GOLDEN_FILE, golden, session.run(golden))


def _report(parity: Parity, precision: str, gate: GateConfig) -> Mapping[str, object]:
    flips_limit, score_limit = gate.limits(precision)
    caution = parity.caution(flips_limit)
    return {
        **parity.to_object(),
        "limits": {"flips": flips_limit, "score_difference": score_limit},
        **({"caution": caution} if caution else {}),
    }


def _really(session: Session) -> Mapping[str, str]:
    """What the passport keeps of how the engine really computed here."""
    kept = {"precision": "computed_in", "fallback": "fallback"}
    return {kept[key]: text for key, text in session.description.items() if key in kept}


def _run(session: Session, crops: Crops) -> tuple[Logits, Logits]:
    """Score all crops one by one, and in batches."""
    alone, together = [], []
    for images in crops.image_batches(_BATCH):
        alone += [session.run(images[i : i + 1]) for i in range(len(images))]
        together.append(session.run(images))
    return _joined(alone), _joined(together)


def _joined(parts: Sequence[Logits]) -> Logits:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _check_itself(
    draft: Manifest,
    folder: Path,
    crops: Crops,
    session: Session,
    alone: Logits,
    together: Logits,
    gate: GateConfig,
) -> Mapping[str, float]:
    """Return the largest probability differences between an engine's own runs.

    Raises:
        ParityError: an answer depends on the rest of the batch, on the run or on the threads.
    """
    few = crops.images_at(np.arange(min(_REPEATED, len(crops))))
    first = {name: scores[: len(few)] for name, scores in alone.items()}
    again = _joined([session.run(few[i : i + 1]) for i in range(len(few))])
    for name, scores in first.items():
        if not np.array_equal(scores, again[name]):
            apart = float(np.abs(scores - again[name]).max())
            raise ParityError(
                f"head {name!r}: scores of the same crops differ by {apart:.4g} from run to run; "
                "the engine is not deterministic"
            )
    with closing(open_session(folder, draft, SessionOptions(threads=2))) as other:
        two_threads = _joined([other.run(few[i : i + 1]) for i in range(len(few))])
    return {
        "batch": _require_same(draft, alone, together, gate, f"a batch of {_BATCH} instead of 1"),
        "threads": _require_same(draft, first, two_threads, gate, "two threads instead of one"),
    }


def _require_same(
    draft: Manifest, first: Logits, second: Logits, gate: GateConfig, what: str
) -> float:
    """Return the largest probability difference of two runs of one engine.

    Kernels for other batches and threads may add in another order, and an integer engine may then
    round to the next step; more than a load accepts of another machine is an error.
    """
    names = [f"crop {i}" for i in range(len(next(iter(first.values()))))]
    parity = compare_answers(draft.schema, first, second, draft.operating, names)
    flips_limit, score_limit = gate.limits(draft.precision)
    limit = min(score_limit, draft.golden_tolerance)
    if not parity.within(flips_limit, limit):
        raise ParityError(
            f"with {what}, {len(parity.flipped)} of {parity.crops} answers and probabilities by up "
            f"to {parity.max_score_difference:.4f} (allowed {limit:g}) are other than before; the "
            "engine's answers must depend on the crop alone"
        )
    return parity.max_score_difference
