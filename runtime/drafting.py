"""From an engine's scores to answers, but for what is known of the call and not of the image.

The same answers as ``decode.Decoder`` gives, to the last bit. That one keeps arrays of samples,
which is what measuring wants; here are a few images, each to become an object, and an array
operation costs more than all the numbers of an image in plain Python.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import TypeAlias

from .arrays import Logits
from .decode import UNSURE, Decoder
from .layout import ReadingLayout
from .manifest import ArtifactName
from .results import HeadAnswer, ReadingAnswer, Result
from .schema import HeadKind, Schema
from .scores import OperatingPoint, probabilities

__all__ = ["Draft", "Drafter"]

Draft: TypeAlias = Callable[..., Result]
"""A result that lacks what stands after its readings: timings, tag and scores."""


class Drafter:
    """Turns scores of one schema into drafts; any thread may call it.

    Args:
        schema: Heads and readings.
        operating: Temperatures and thresholds of the engine that makes the scores.
        artifact: Whose answers they are.
    """

    def __init__(
        self, schema: Schema, operating: OperatingPoint, artifact: ArtifactName | None = None
    ) -> None:
        self._decoder = Decoder(schema, operating)
        self._readings = self._decoder.layout.readings
        self._artifact = artifact
        self._threshold = operating.answer_threshold or 0.0
        self._choice = [
            (
                head.name,
                [(label, (label,)) for label in head.labels],
                operating.choice_thresholds.get(head.name, 0.0),
            )
            for head in schema.heads
            if head.kind is HeadKind.CHOICE
        ]
        self._labels = [
            (
                head,
                operating.temperatures.get(head.name, 1.0),
                operating.thresholds_of(head).tolist(),
            )
            for head in schema.heads
            if head.kind is HeadKind.LABELS
        ]
        self._order = [head.name for head in schema.heads] if self._labels else None

    def __call__(self, logits: Logits) -> list[Draft]:
        """Return one draft per sample, in order.

        Args:
            logits: Head name to (N, K).

        Raises:
            EngineError: as ``Decoder``.
        """
        choices, confidence = self._decoder.choose(logits)
        drafts = []
        others = [
            (head.name, head.labels, thresholds, probabilities(head, logits[head.name], heat))
            for head, heat, thresholds in self._labels
        ]
        for row, (labels, sure) in enumerate(zip(choices, confidence, strict=True)):
            extra = {
                name: _labels_answer(names, thresholds, values[row].tolist())
                for name, names, thresholds, values in others
            }
            drafts.append(self._draft(labels, sure, extra))
        return drafts

    def _draft(
        self, labels: Sequence[int], sure: Sequence[float], extra: dict[str, HeadAnswer]
    ) -> Draft:
        """Return one sample's draft.

        Args:
            labels: Of each choice head.
            sure: Their probabilities.
            extra: The answers of the labels heads.
        """
        heads: dict[str, HeadAnswer] = {}
        accepted = []
        for (name, answers, threshold), label, value in zip(
            self._choice, labels, sure, strict=True
        ):
            reached = value >= threshold
            accepted.append(reached)
            # Not HeadAnswer(...): that costs twice as much, ten times an image.
            heads[name] = tuple.__new__(HeadAnswer, (*answers[label], value, reached, {}))
        spelled = [prod([sure[column] for column in r.places]) for r in self._readings]
        joint = prod(spelled or [prod(sure), *[answer.confidence for answer in extra.values()]])
        # Whoever acts on an answer needs all of it: where it is accepted, no position abstains.
        certain = joint >= self._threshold
        shown = None if all(accepted) or (certain and self._threshold) else accepted
        readings = {
            reading.name: _spell(reading, labels, shown, value)
            for reading, value in zip(self._readings, spelled, strict=True)
        }
        if self._order is not None:
            heads = {name: heads[name] if name in heads else extra[name] for name in self._order}
        text = next(iter(readings.values())).text if readings else None
        return partial(Result, text, joint, certain, heads, readings, artifact=self._artifact)


def _spell(
    reading: ReadingLayout, labels: Sequence[int], shown: Sequence[bool] | None, confidence: float
) -> ReadingAnswer:
    """Spell a reading; where ``shown`` is given, positions that it denies print ``?``."""
    columns = reading.places
    letters = [
        alphabet[labels[column]] for alphabet, column in zip(reading.spelled, columns, strict=True)
    ]
    raw = text = "".join(letters)
    if shown is not None:
        text = "".join(
            letter if shown[column] else UNSURE
            for letter, column in zip(letters, columns, strict=True)
        )
    return ReadingAnswer(text, raw, confidence)


def _labels_answer(
    labels: Sequence[str], thresholds: Sequence[float], values: Sequence[float]
) -> HeadAnswer:
    """Answer for a labels head: which labels reach their thresholds, by their probabilities."""
    holds = [value >= limit for value, limit in zip(values, thresholds, strict=True)]
    named = tuple(label for label, yes in zip(labels, holds, strict=True) if yes)
    right = prod(value if yes else 1 - value for yes, value in zip(holds, values, strict=True))
    by_label = dict(zip(labels, values, strict=True))
    return HeadAnswer(
        label=None, labels=named, confidence=right, accepted=True, probabilities=by_label
    )
