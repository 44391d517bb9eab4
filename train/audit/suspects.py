"""Scores of a checkpoint on all crops of a survey, and what of it was seen in its training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from train.lineage import sources_named
from train.progress import progress

from .label_issues import Suspect, find_suspects
from .survey import Survey

if TYPE_CHECKING:
    from train.checkpoint import Checkpoint

__all__ = ["suspects_of", "trained_on"]

_CHUNK: Final = 512
"""Crops that are in memory at a time."""


def suspects_of(checkpoint: Checkpoint, survey: Survey) -> Sequence[Suspect]:
    """Return the crops whose labels the checkpoint contradicts, most doubtful first."""
    from train.scoring import score  # torch

    network = checkpoint.build()
    parts: list[dict[str, npt.NDArray[np.float32]]] = []
    done = 0
    with progress("scores", len(survey)) as watch:
        for crops in survey.parts:
            for start in range(0, len(crops), _CHUNK):
                chunk = crops.take(np.arange(start, min(start + _CHUNK, len(crops))))
                parts.append(score(network, chunk.fitted(checkpoint.input)))
                done += len(chunk)
                watch(done, "")
    logits = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return find_suspects(survey.schema, logits, survey.targets, checkpoint.operating)


def trained_on(checkpoint: Checkpoint, sources: Sequence[Path]) -> Sequence[Path]:
    """Return the sources that the checkpoint's lineage names as data of a training."""
    seen = sources_named(checkpoint.lineage, "data")
    return [source for source in sources if source.resolve() in seen]
