"""The crops worth looking at after an evaluation, each with its truth and its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from itertools import zip_longest
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from benchmarks.assessment import Assessment
from benchmarks.crops.targets import Targets
from benchmarks.page import Gallery, Position, Thumbnail, thumbnail
from runtime.arrays import Bools, Image
from runtime.schema import Head, HeadKind, Reading

__all__ = [
    "UNKNOWN",
    "Crops",
    "aligned",
    "answers",
    "confident_mistakes",
    "gallery",
    "least_likely",
]

_HEIGHT_PX: Final = 64
_DOUBTFUL: Final = 0.9
"""Truths that are at least as probable are nothing to look at."""
UNKNOWN: Final = "(not given)"
"""Instead of a truth."""
_GAP: Final = "–"


class Crops(Protocol):
    """Where the pictures are; read one by one, only when shown."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Path: ...

    def read(self, index: int, /) -> Image:
        """Return one picture, (H, W, 3) uint8 BGR."""


def confident_mistakes(found: Assessment) -> npt.NDArray[np.intp]:
    """Return the samples whose wrong answer was accepted, the most confident first.

    Without a fitted threshold these are all wrong answers.
    """
    metrics, decoded = found.metrics, found.decoded
    wrong = np.flatnonzero(metrics.answer_given & ~metrics.answer_right & decoded.accepted)
    return wrong[np.argsort(-decoded.confidence[wrong], kind="stable")]


def least_likely(found: Assessment) -> npt.NDArray[np.intp]:
    """Return the samples by the probability of what their label says, the lowest first.

    Those where it is 0.9 or more are left out.
    """
    given = np.flatnonzero(found.metrics.given & (found.truth_probability < _DOUBTFUL))
    return given[np.argsort(found.truth_probability[given], kind="stable")]


def gallery(found: Assessment, targets: Targets, crops: Crops, index: Sequence[int]) -> Gallery:
    """Return the crops at ``index`` with truth, answer and confidence.

    Args:
        found: What was measured.
        targets: The truths that it was measured on.
        crops: The pictures, in the order of the truths.
        index: Which to show.

    Raises:
        DataError: a picture vanished or changed since it was checked.
    """
    return Gallery([_thumbnail(found, targets, crops, number) for number in index])


def answers(found: Assessment, targets: Targets, index: int) -> Mapping[str, tuple[str, str]]:
    """Return truth and answer of every reading, and of every head outside readings."""
    parts = {
        reading.name: _texts(found, targets, reading, index)[:2]
        for reading in found.schema.readings
    }
    return parts | {
        head.name: _free_head(found, targets, head, index) for head in found.schema.free_heads
    }


def _thumbnail(found: Assessment, targets: Targets, crops: Crops, index: int) -> Thumbnail:
    titles, lines = [], []
    positions: list[Position] = []
    for reading in found.schema.readings:
        truth, answer, printed = _texts(found, targets, reading, index)
        titles.append(f"{truth} read as {answer}" if truth != answer else truth)
        positions += _positions(found, targets, reading, index)
        if printed != answer:
            lines.append(f"printed: {printed}")
    for head in found.schema.free_heads:
        truth, answer = _free_head(found, targets, head, index)
        if truth not in (answer, UNKNOWN):
            lines.append(f"{head.name}: {truth} taken for {answer}")
        elif not found.schema.readings:
            lines.append(f"{head.name}: {answer}")
    lines.append(f"confidence {found.decoded.confidence[index]:.4f}")
    lines.append(f"probability of the truth {found.truth_probability[index]:.2g}")
    lines.append(crops[index].name)
    return Thumbnail(
        jpeg=thumbnail(crops.read(index), height_px=_HEIGHT_PX),
        caption="\n".join(lines),
        title="; ".join(titles),
        positions=positions,
    )


def _texts(
    found: Assessment, targets: Targets, reading: Reading, index: int
) -> tuple[str, str, str]:
    """Truth, answer, and the answer as printed, with ``?`` for unsure positions."""
    answers = found.decoded.readings[reading.name]
    truth = "".join(_letters(found, targets, reading, index)[0])
    return truth or UNKNOWN, answers.raw_texts[index], answers.texts[index]


def _positions(
    found: Assessment, targets: Targets, reading: Reading, index: int
) -> Sequence[Position]:
    truth, answer = _letters(found, targets, reading, index)
    if not truth or truth == answer:
        return []
    return aligned(truth, answer)


def _letters(
    found: Assessment, targets: Targets, reading: Reading, index: int
) -> tuple[list[str], list[str]]:
    """Truth and answer without blanks; no truth where a position is not given."""
    truth, answer = [], []
    for name in reading.heads:
        labels, wanted = found.schema.head(name).labels, int(targets.choices[name][index])
        truth.append(labels[wanted] if wanted >= 0 else None)
        answer.append(labels[int(found.decoded.choices[name][index])])
    known = [] if None in truth else [str(label) for label in truth if label != reading.blank]
    return known, [label for label in answer if label != reading.blank]


def aligned(truth: Sequence[str], answer: Sequence[str]) -> Sequence[Position]:
    """Set two readings under each other, position by position.

    Of equal length they stand as they are; else what is missing on one side is a gap, so that one
    character too few does not make all later ones look wrong.
    """
    if len(truth) == len(answer):
        return [Position(a, b, a != b) for a, b in zip(truth, answer, strict=True)]
    matcher = SequenceMatcher(None, truth, answer, autojunk=False)
    return [
        Position(a, b, a != b)
        for _, i, j, k, m in matcher.get_opcodes()
        for a, b in zip_longest(truth[i:j], answer[k:m], fillvalue=_GAP)
    ]


def _free_head(found: Assessment, targets: Targets, head: Head, index: int) -> tuple[str, str]:
    """Truth and answer of a head outside readings; labels that are not given stand in neither."""
    if head.kind is HeadKind.CHOICE:
        wanted = int(targets.choices[head.name][index])
        answer = head.labels[int(found.decoded.choices[head.name][index])]
        return head.labels[wanted] if wanted >= 0 else UNKNOWN, answer
    present, said = targets.labels[head.name][index], found.decoded.labels[head.name][index]
    if (present < 0).all():
        return UNKNOWN, _set(head, said)
    return _set(head, present == 1), _set(head, said & (present >= 0))


def _set(head: Head, present: Bools) -> str:
    return " | ".join(head.labels[k] for k in np.flatnonzero(present)) or "none"
