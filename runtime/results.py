"""What a reader answers for one image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import TypeAlias

from .decode import Decoded
from .schema import Head, HeadKind, Schema

__all__ = ["Draft", "HeadAnswer", "ReadingAnswer", "Result", "Timings", "drafts"]


@dataclass(frozen=True, slots=True)
class HeadAnswer:
    """What one head says of one image."""

    label: str | None
    """The label of a choice head; None for a labels head."""
    labels: tuple[str, ...]
    """The labels that hold: those of a labels head over their thresholds, or the one chosen."""
    confidence: float
    """Calibrated probability of ``labels`` being right, in [0, 1]; for a labels head all of them
    together, those that do not hold included."""
    accepted: bool
    """Whether the confidence reaches the head's threshold; always true for a labels head, whose
    labels have a threshold each."""
    probabilities: Mapping[str, float]
    """Every label's calibrated probability for a labels head; empty for a choice head."""


@dataclass(frozen=True, slots=True)
class ReadingAnswer:
    """The text of one reading of one image."""

    text: str
    """Positions under their head's threshold print ``?``."""
    raw_text: str
    """Every position's best label, sure or not."""
    confidence: float
    """Product of the positions' calibrated probabilities, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Timings:
    """Wall time of the engine call that an image was part of, whole batch; nanoseconds."""

    prepare: int
    """Checking, cropping and resizing."""
    engine: int
    """The engine call."""
    decode: int
    """From scores to answers."""


@dataclass(frozen=True, slots=True)
class Result:
    """The answer for one image."""

    text: str | None
    """Text of the schema's first reading; None if it has no reading."""
    confidence: float
    """Calibrated confidence of the answer as a whole, in [0, 1]."""
    accepted: bool
    """Whether the confidence reaches the artifact's answer threshold."""
    heads: Mapping[str, HeadAnswer]
    """By head name, in schema order."""
    readings: Mapping[str, ReadingAnswer]
    """By reading name, in schema order."""
    timings_ns: Timings


Draft: TypeAlias = Callable[[Timings], Result]
"""A result that lacks only its timings."""


def drafts(schema: Schema, decoded: Decoded) -> Iterator[Draft]:
    """Yield one draft per decoded sample, in order."""
    columns = [(head.name, _head_answers(head, decoded)) for head in schema.heads]
    joint, accepted = decoded.confidence.tolist(), decoded.accepted.tolist()
    for row in range(len(decoded)):
        readings = {
            name: ReadingAnswer(
                answers.texts[row], answers.raw_texts[row], float(answers.confidence[row])
            )
            for name, answers in decoded.readings.items()
        }
        text = next(iter(readings.values())).text if readings else None
        heads = {name: answers[row] for name, answers in columns}
        yield partial(Result, text, joint[row], accepted[row], heads, readings)


def _head_answers(head: Head, decoded: Decoded) -> list[HeadAnswer]:
    """Return the answers of one head for all samples."""
    if head.kind is HeadKind.LABELS:
        return [
            _labels_answer(head.labels, holds, probabilities)
            for holds, probabilities in zip(
                decoded.labels[head.name].tolist(),
                decoded.label_probability[head.name].tolist(),
                strict=True,
            )
        ]
    chosen = [head.labels[index] for index in decoded.choices[head.name].tolist()]
    return [
        HeadAnswer(label, (label,), confidence, accepted, {})
        for label, confidence, accepted in zip(
            chosen,
            decoded.choice_confidence[head.name].tolist(),
            decoded.choice_accepted[head.name].tolist(),
            strict=True,
        )
    ]


def _labels_answer(
    labels: Sequence[str], holds: Sequence[bool], probabilities: Sequence[float]
) -> HeadAnswer:
    named = tuple(label for label, yes in zip(labels, holds, strict=True) if yes)
    right = prod(p if yes else 1 - p for yes, p in zip(holds, probabilities, strict=True))
    by_label = dict(zip(labels, probabilities, strict=True))
    return HeadAnswer(
        label=None, labels=named, confidence=right, accepted=True, probabilities=by_label
    )
