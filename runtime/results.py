"""What a reader answers for one image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import NamedTuple, TypeAlias

from .arrays import Logits
from .decode import Decoded
from .schema import HeadKind, Schema

__all__ = ["Draft", "Drafter", "HeadAnswer", "ReadingAnswer", "Result", "Timings"]


class HeadAnswer(NamedTuple):  # made in a third of the time that a frozen dataclass takes
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
    """Checking, cropping and resizing; of this image alone where it was submitted."""
    engine: int
    """The engine call."""
    decode: int
    """From scores to answers."""
    queue: int = 0
    """From ``submit`` until a lane took the request; 0 for images that were not submitted."""


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
    tag: object = None
    """What the image was submitted with."""
    scores: Logits | None = field(default=None, repr=False, compare=False)
    """Head name to the engine's (K,) float32 scores; None unless the reader keeps them
    (``Reader.open(keep_scores=True)``)."""


Draft: TypeAlias = Callable[..., Result]
"""A result that lacks what stands after its readings: timings, tag and scores."""


class Drafter:
    """Turns decoded samples of one schema into drafts; any thread may call it."""

    def __init__(self, schema: Schema) -> None:
        self._heads = [
            (head.name, head.labels, head.kind is HeadKind.CHOICE) for head in schema.heads
        ]

    def __call__(self, decoded: Decoded) -> list[Draft]:
        """Return one draft per decoded sample, in order."""
        choices, sureness, accepted = (part.tolist() for part in decoded.table)
        joint, certain = decoded.confidence.tolist(), decoded.accepted.tolist()
        drafts: list[Draft] = []
        for row in range(len(joint)):
            readings = {
                name: ReadingAnswer(
                    answers.texts[row], answers.raw_texts[row], float(answers.confidence[row])
                )
                for name, answers in decoded.readings.items()
            }
            text = next(iter(readings.values())).text if readings else None
            columns = zip(choices[row], sureness[row], accepted[row], strict=True)
            heads = self._head_answers(columns, decoded, row)
            drafts.append(partial(Result, text, joint[row], certain[row], heads, readings))
        return drafts

    def _head_answers(
        self, columns: Iterator[tuple[int, float, bool]], decoded: Decoded, row: int
    ) -> Mapping[str, HeadAnswer]:
        """Return the answers of all heads; ``columns`` are those of the choice heads."""
        answers = {}
        for name, labels, chosen in self._heads:
            if chosen:
                index, confidence, accepted = next(columns)
                label = labels[index]
                answers[name] = HeadAnswer(label, (label,), confidence, accepted, {})
            else:
                holds, probabilities = decoded.labels[name], decoded.label_probability[name]
                answers[name] = _labels_answer(
                    labels, holds[row].tolist(), probabilities[row].tolist()
                )
        return answers


def _labels_answer(
    labels: Sequence[str], holds: Sequence[bool], probabilities: Sequence[float]
) -> HeadAnswer:
    named = tuple(label for label, yes in zip(labels, holds, strict=True) if yes)
    right = prod(p if yes else 1 - p for yes, p in zip(holds, probabilities, strict=True))
    by_label = dict(zip(labels, probabilities, strict=True))
    return HeadAnswer(
        label=None, labels=named, confidence=right, accepted=True, probabilities=by_label
    )
