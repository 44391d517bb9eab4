"""From scores to answers: the label of each head, and the best text that fits a format.

Positions of a reading are independent given a format, so the best text of a format takes the best
allowed label at every position, and the best of these over all formats is the exact optimum: no
beam or k-best list is needed.

Per answer this takes a few array operations over all heads at once rather than a few per head,
because at batch 1 the price is the number of numpy calls. Formats are compared only where they may
change something: mostly each position's best label fits one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final

import numpy as np
import numpy.typing as npt

from .arrays import Bools, Floats, Logits
from .errors import EngineError
from .joined import JoinedScores
from .layout import ReadingLayout, layout_of
from .schema import Schema
from .scores import OperatingPoint, sigmoid

__all__ = ["UNSURE", "Decoded", "Decoder", "ReadingAnswers", "decode"]

UNSURE: Final = "?"
"""Printed for a position whose probability is under its head's threshold."""
_CERTAIN: Final = 0.5 + 1e-6
"""Probability above which a label's score leads all others by 4e-6 or more."""
_CHUNK: Final = 32
"""Samples decided at a time; their formats then fit the L2 cache (measured: 1.5x faster)."""


@dataclass(frozen=True, slots=True)
class ReadingAnswers:
    """The texts of N samples."""

    texts: Sequence[str]
    """N texts; where the answer is not accepted, positions under their head's threshold print
    ``?``."""
    raw_texts: Sequence[str]
    """N texts with every position's best label, sure or not; what exactness is judged on."""
    confidence: npt.NDArray[np.float64]
    """(N,) product of the positions' calibrated probabilities, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The answers of all heads for N samples."""

    choices: Mapping[str, npt.NDArray[np.int64]]
    """Choice head to (N,) label indices, after formats."""
    choice_confidence: Mapping[str, npt.NDArray[np.float64]]
    """Choice head to (N,) calibrated probability of the chosen label."""
    labels: Mapping[str, Bools]
    """Labels head to (N, K), true where the probability reaches the label's threshold."""
    label_probability: Mapping[str, npt.NDArray[np.float64]]
    """Labels head to (N, K) calibrated probabilities."""
    readings: Mapping[str, ReadingAnswers]
    confidence: npt.NDArray[np.float64]
    """(N,) confidence of the whole answer: the readings' joint one, or that of all heads."""
    accepted: Bools
    """(N,) whether the confidence reaches the operating point's answer threshold."""
    choice_accepted: Mapping[str, Bools]
    """Choice head to (N,) whether the confidence reaches the head's threshold."""

    def __len__(self) -> int:
        return len(self.confidence)


class Decoder:
    """Decodes batches of one schema at one operating point; any thread may call it.

    Args:
        schema: Heads and readings.
        operating: Temperatures and thresholds of the engine that makes the logits.
    """

    def __init__(self, schema: Schema, operating: OperatingPoint) -> None:
        self._schema = schema
        self.layout = layout = layout_of(schema)
        self._names = tuple(head.name for head in schema.heads)
        self._divisors = np.repeat(
            [operating.temperatures.get(head.name, 1.0) for head in schema.heads], layout.sizes
        )
        self._padded_divisors = np.append(self._divisors, 1.0).take(layout.padded)
        self._thresholds = np.asarray(
            [operating.choice_thresholds.get(name, 0.0) for name in layout.columns]
        )
        self._label_thresholds = {
            name: operating.thresholds_of(schema.head(name)) for name in layout.labels
        }
        self._answer_threshold = operating.answer_threshold or 0.0

    def __call__(self, logits: Logits) -> Decoded:
        """Decode a batch.

        Args:
            logits: Head name to (N, K).

        Raises:
            EngineError: a score is NaN or infinite (the engine is broken, not unsure), or a head
                has another number of scores than labels.
        """
        layout = self.layout
        scaled = self._scaled(logits)
        count = len(scaled)
        parts = [
            self._choose(scaled[start : start + _CHUNK]) for start in range(0, count, _CHUNK)
        ] or [self._choose(scaled)]
        choices, confidence = parts[0]
        if count > _CHUNK:
            choices = np.concatenate([part for part, _ in parts])
            confidence = np.concatenate([part for _, part in parts])
        accepted = confidence >= self._thresholds
        label_probability = {name: sigmoid(scaled[:, at]) for name, at in layout.labels.items()}
        labels = {
            name: value >= self._label_thresholds[name] for name, value in label_probability.items()
        }
        spelled = [
            np.multiply.reduce(confidence.take(reading.columns, axis=1), axis=1)
            for reading in layout.readings
        ]
        joint = _joint(spelled, confidence, label_probability, labels)
        # Whoever acts on an answer needs all of it: where it is accepted, no position abstains.
        certain = joint >= self._answer_threshold
        shown = accepted | certain[:, None] if self._answer_threshold else accepted
        readings = {
            reading.name: _spell(reading, choices, shown, sure)
            for reading, sure in zip(layout.readings, spelled, strict=True)
        }
        names = layout.columns
        return Decoded(
            choices=dict(zip(names, choices.T, strict=True)),
            choice_confidence=dict(zip(names, confidence.T, strict=True)),
            labels=labels,
            label_probability=label_probability,
            readings=readings,
            confidence=joint,
            accepted=certain,
            choice_accepted=dict(zip(names, accepted.T, strict=True)),
        )

    def _scaled(self, logits: Logits) -> npt.NDArray[np.float64]:
        """(N, T + 1): all logits over their temperatures, then -inf."""
        parts = self._parts(logits)
        scaled = np.empty((len(parts[0]), len(self._divisors) + 1))
        joined = scaled[:, :-1]
        np.concatenate(parts, axis=1, out=joined)
        if not _finite(joined):
            raise self._broken(logits)
        joined /= self._divisors
        scaled[:, -1] = -np.inf
        return scaled

    def _parts(self, logits: Logits) -> Sequence[npt.NDArray[np.float32]]:
        parts = [logits[name] for name in self._names]
        if tuple([part.shape[1] for part in parts]) != self.layout.sizes:
            raise EngineError(
                f"expected {dict(zip(self._names, self.layout.sizes, strict=True))} scores per "
                f"head, got {[part.shape for part in parts]}; re-export the artifact"
            )
        return parts

    def _join(self, logits: Logits) -> JoinedScores:
        """Return one image's logits, (1, K) per head, in one row.

        Raises:
            EngineError: a head has another number of scores than labels.
        """
        if isinstance(logits, JoinedScores):  # by a session, which has compared graph and schema
            return logits
        return JoinedScores.of(self._parts(logits), self.layout.places)

    def _broken(self, logits: Logits) -> EngineError:
        broken = [name for name in self._names if not _finite(logits[name])]
        return EngineError(
            f"heads {broken}: the engine returned NaN or infinite scores; re-export the artifact "
            "and check its golden vectors with `python -m runtime.show`"
        )

    def choose(self, logits: Logits) -> tuple[Sequence[Sequence[int]], Sequence[Sequence[float]]]:
        """Return label indices and their probabilities, for a few samples: N times C each.

        Raises:
            EngineError: as ``__call__``.
        """
        if isinstance(logits, JoinedScores) or len(logits[self._names[0]]) == 1:
            labels, sure = self._choose_one(self._join(logits))
            return [labels], [sure]
        choices, confidence = self._choose(self._scaled(logits))
        return choices.tolist(), confidence.tolist()

    def _choose_one(self, scores: JoinedScores) -> tuple[Sequence[int], Sequence[float]]:
        """Return label indices and their probabilities, C each; ``_choose`` for one sample."""
        row = scores.row.astype(np.float64)
        numbers = row[:-1]
        # One number that is finite only if all are: squares of float32 never overflow float64.
        if not isfinite(numbers.dot(numbers)):
            raise self._broken(scores)
        padded = row.take(self.layout.padded)  # (C, M)
        padded /= self._padded_divisors
        best, sums = _softmax(padded)
        labels, sure = best.tolist(), [1.0 / total for total in sums.tolist()]
        if self._fits(labels, sure):
            return labels, sure
        scaled = row.take(self.layout.padded) / self._padded_divisors
        labels = self._constrain(scaled[None])[0].tolist()
        return labels, (padded[self.layout.heads, labels] / sums).tolist()

    def _choose(
        self, scaled: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Return label indices and their probabilities, both (N, C)."""
        padded = scaled.take(self.layout.padded, axis=1)  # (N, C, M)
        choices, sums = _softmax(padded)
        confidence = 1.0 / sums
        rows = zip(choices.tolist(), confidence.tolist(), strict=True)
        unsettled = [row for row, (labels, sure) in enumerate(rows) if not self._fits(labels, sure)]
        if unsettled:
            labels = self._constrain(scaled[unsettled].take(self.layout.padded, axis=1))
            places = np.asarray(unsettled)[:, None]
            choices[unsettled] = labels
            confidence[unsettled] = padded[places, self.layout.heads, labels] / sums[unsettled]
        return choices, confidence

    def _fits(self, labels: Sequence[int], confidence: Sequence[float]) -> bool:
        """Whether each head's best label is also the best that formats allow, for certain.

        It is where the first format allows them all. A later one may tie with a format before it,
        which then is the one to take; not so where every label has more than half of its head's
        probability, because all others then score less by far more than the rounding of sums.
        """
        for reading in self.layout.readings:
            if not reading.fitting:
                continue
            formats = -1
            for column, allowing in zip(reading.places, reading.fitting, strict=True):
                formats &= allowing[labels[column]]
            if formats & 1:
                continue
            if not formats or min([confidence[c] for c in reading.places]) <= _CERTAIN:
                return False
        return True

    def _constrain(self, padded: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Return the labels of the best format for each sample: (N, C) of (N, C, M) logits."""
        layout = self.layout
        # (N, R, M): the labels of each option. A head's log of the softmax's sum is the same for
        # all its options, so plain logits rank formats as log probabilities do.
        allowed = padded.take(layout.option_columns, axis=1)
        allowed += layout.option_masks
        best = allowed.argmax(axis=2)  # (N, R)
        value = np.maximum.reduce(allowed, axis=2)  # (N, R)
        options = np.empty((len(padded), len(layout.columns)), np.int64)
        options[:] = layout.heads
        for reading in layout.readings:
            if reading.formats is not None:
                total = np.add.reduce(value.take(reading.formats, axis=1), axis=2)  # (N, F)
                options[:, reading.columns] = reading.formats.take(total.argmax(axis=1), axis=0)
        chosen: npt.NDArray[np.int64] = best[np.arange(len(padded))[:, None], options]
        return chosen


def _softmax(
    padded: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return each head's best label and the sum of all probabilities relative to that label's.

    Args:
        padded: (..., C, M) logits, overwritten by those relative probabilities.
    """
    best = padded.argmax(-1)
    padded -= np.maximum.reduce(padded, -1)[..., None]
    np.exp(padded, padded)
    return best, np.add.reduce(padded, -1)


def decode(schema: Schema, logits: Logits, operating: OperatingPoint) -> Decoded:
    """Decode one batch; to decode many, keep a ``Decoder``.

    Args:
        schema: Heads and readings.
        logits: Head name to (N, K).
        operating: Temperatures and thresholds of the engine that made the logits.

    Raises:
        EngineError: a score is NaN or infinite: the engine is broken, not unsure.
    """
    return Decoder(schema, operating)(logits)


def _spell(
    reading: ReadingLayout,
    choices: npt.NDArray[np.int64],
    shown: Bools,
    confidence: npt.NDArray[np.float64],
) -> ReadingAnswers:
    indices = choices.take(reading.columns, axis=1).tolist()
    raw = [
        [letters[index] for letters, index in zip(reading.spelled, row, strict=True)]
        for row in indices
    ]
    sure = shown.take(reading.columns, axis=1)
    raw_texts = ["".join(letters) for letters in raw]
    texts = raw_texts
    if not sure.all():
        texts = [
            "".join(letter if ok else UNSURE for letter, ok in zip(letters, row, strict=True))
            for letters, row in zip(raw, sure.tolist(), strict=True)
        ]
    return ReadingAnswers(texts, raw_texts, confidence)


def _joint(
    readings: Sequence[npt.NDArray[np.float64]],
    confidence: npt.NDArray[np.float64],
    label_probability: Mapping[str, npt.NDArray[np.float64]],
    labels: Mapping[str, Bools],
) -> npt.NDArray[np.float64]:
    """Confidence of the answer: its readings' where there are any, else that of all heads."""
    if readings:
        factors = list(readings)
    else:
        factors = [np.multiply.reduce(confidence, axis=1)]
        for name, value in label_probability.items():
            factors.append(np.where(labels[name], value, 1 - value).prod(axis=1))
    joint = factors[0]
    for factor in factors[1:]:
        joint = joint * factor
    return joint


def _finite(scores: Floats) -> bool:
    return bool(np.logical_and.reduce(np.isfinite(scores), axis=None))
