"""What is odd about training and validation data together, told before the training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.crops.targets import Targets
from benchmarks.operating_point import unfittable
from runtime.schema import Schema

from .data import CropSet
from .overlap import SeenData, overlap_warnings, picture_places

__all__ = ["data_notes"]

_SHOWN: Final = 5


def data_notes(
    schema: Schema, crops: CropSet, validation: CropSet, sources: Sequence[Path]
) -> Sequence[str]:
    """Return a sentence for each thing that a user should know; none is the rule.

    Args:
        schema: Of both.
        crops: To train on.
        validation: Chooses weights and thresholds.
        sources: What the validation data are called.

    Raises:
        DataError: no validation crop labels the readings.
    """
    seen = SeenData(
        role="the training data",
        digests=frozenset({crops.digest}),
        places=frozenset(picture_places(crops.paths)),
    )
    names = ", ".join(map(str, sources))
    return [
        *(f"note: {note}" for note in unfittable(schema, validation.targets)),
        *_never_trained(schema, crops.targets, validation.targets),
        *overlap_warnings(names, validation.paths, validation.digest, [seen]),
    ]


def _never_trained(schema: Schema, training: Targets, validation: Targets) -> Sequence[str]:
    """Tell the labels that validation data have and training data lack: often spelling mistakes."""
    notes = []
    for head in schema.heads:
        name = head.name
        if name in training.choices:
            trained, asked = (
                np.bincount(part.choices[name][part.choices[name] >= 0], minlength=head.size)
                for part in (training, validation)
            )
        else:
            trained, asked = (
                (part.labels[name] > 0).sum(axis=0) for part in (training, validation)
            )
        missing = [head.labels[i] for i in np.flatnonzero((asked > 0) & (trained == 0))]
        if missing:
            more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
            notes.append(
                f"note: head {name}: validation data have {', '.join(missing[:_SHOWN])}{more}, "
                "which no training crop has"
            )
    return notes
