"""A schema with every kind of head, and logits that decode to wanted answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.labelled import Targets
from runtime.schema import Head, HeadKind, Reading, Schema

GARMENTS = Schema(
    name="garments",
    heads=(
        Head(name="colour", kind=HeadKind.CHOICE, labels=("red", "green", "blue")),
        Head(name="tags", kind=HeadKind.LABELS, labels=("new", "worn")),
    ),
)
PLATES = Schema(
    name="plates",
    heads=(
        Head(name="one", kind=HeadKind.CHOICE, labels=("_", "A", "B")),
        Head(name="two", kind=HeadKind.CHOICE, labels=("_", "A", "B")),
        Head(name="rows", kind=HeadKind.CHOICE, labels=("single", "double")),
    ),
    readings=(Reading(name="text", heads=("one", "two"), blank="_"),),
)


def logits_of(
    schema: Schema, answers: Mapping[str, Sequence[object]], gap: float = 8.0
) -> dict[str, npt.NDArray[np.float32]]:
    """Return logits whose decoded answers are ``answers``: indices, or rows of 0 and 1."""
    logits = {}
    for head in schema.heads:
        wanted = np.asarray(answers[head.name])
        if head.kind is HeadKind.CHOICE:
            wanted = np.eye(head.size)[wanted]
        logits[head.name] = ((wanted - 0.5) * gap).astype(np.float32)
    return logits


def targets_of(schema: Schema, truth: Mapping[str, Sequence[object]]) -> Targets:
    """Return targets from indices, or rows of 0, 1 and -1."""
    choices, labels = {}, {}
    for head in schema.heads:
        if head.kind is HeadKind.CHOICE:
            choices[head.name] = np.asarray(truth[head.name], np.int64)
        else:
            labels[head.name] = np.asarray(truth[head.name], np.int8)
    return Targets(choices, labels)
