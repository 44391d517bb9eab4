"""From scores to answers: the label of each head, and the best text that fits a format.

Positions of a reading are independent given a format, so the best text of a format takes the best
allowed label at every position, and the best of these over all formats is the exact optimum: no
beam or k-best list is needed.

Per answer this takes a few array operations over all heads at once rather than a few per head,
because at batch 1 the price is the number of numpy calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from .arrays import Bools, Logits
from .errors import EngineError
from .schema import HeadKind, Reading, Schema
from .scores import OperatingPoint, sigmoid

__all__ = ["UNSURE", "Decoded", "Decoder", "ReadingAnswers", "decode"]

UNSURE: Final = "?"
"""Printed for a position whose probability is under its head's threshold."""
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
    table: tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], Bools]
    """The three of all C choice heads, in schema order, as (N, C) each."""

    def __len__(self) -> int:
        return len(self.confidence)


@dataclass(frozen=True, slots=True)
class _Reading:
    """Where a reading's heads and formats are in the layout."""

    name: str
    columns: npt.NDArray[np.int64]
    """(P,) column of each position among the C choice heads."""
    formats: npt.NDArray[np.int64] | None
    """(F, P) option row that each format allows at each position."""
    spelled: tuple[tuple[str, ...], ...]
    """P alphabets, the blank spelled as nothing."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """What decoding needs of a schema.

    All logits stand side by side in one row of T, followed by a -inf. The C choice heads are
    padded to the longest one's length M by pointing at that -inf. An *option* is a set of labels
    that some format allows at a position; the first C options allow everything.
    """

    sizes: tuple[int, ...]
    """Scores of each head, in schema order."""
    columns: Mapping[str, int]
    """Choice head to its column among the C choice heads."""
    padded: npt.NDArray[np.int64]
    """(C, M) places in the row of logits."""
    labels: Mapping[str, slice]
    """Labels head to its places in the row."""
    option_columns: npt.NDArray[np.int64]
    """(R,) choice column that an option restricts."""
    option_masks: npt.NDArray[np.float64]
    """(R, M): 0 where the option allows the label, -inf elsewhere."""
    readings: tuple[_Reading, ...]
    heads: npt.NDArray[np.int64]
    """0 to C - 1."""


class Decoder:
    """Decodes batches of one schema at one operating point; any thread may call it.

    Args:
        schema: Heads and readings.
        operating: Temperatures and thresholds of the engine that makes the logits.
    """

    def __init__(self, schema: Schema, operating: OperatingPoint) -> None:
        self._schema = schema
        self._layout = layout = _layout(schema)
        self._names = tuple(head.name for head in schema.heads)
        self._divisors = np.repeat(
            [operating.temperatures.get(head.name, 1.0) for head in schema.heads], layout.sizes
        )
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
        layout = self._layout
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
            table=(choices, confidence, accepted),
        )

    def _scaled(self, logits: Logits) -> npt.NDArray[np.float64]:
        """(N, T + 1): all logits over their temperatures, then -inf."""
        parts = [logits[name] for name in self._names]
        if tuple([part.shape[1] for part in parts]) != self._layout.sizes:
            raise EngineError(
                f"expected {dict(zip(self._names, self._layout.sizes, strict=True))} scores per "
                f"head, got {[part.shape for part in parts]}; re-export the artifact"
            )
        scaled = np.empty((len(parts[0]), len(self._divisors) + 1))
        joined = scaled[:, :-1]
        np.concatenate(parts, axis=1, out=joined)
        if not np.logical_and.reduce(np.isfinite(joined), axis=None):
            broken = [n for n, part in zip(self._names, parts, strict=True) if not _finite(part)]
            raise EngineError(
                f"heads {broken}: the engine returned NaN or infinite scores; re-export the "
                "artifact and check its golden vectors with `python -m runtime.show`"
            )
        joined /= self._divisors
        scaled[:, -1] = -np.inf
        return scaled

    def _choose(
        self, scaled: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Return label indices and their probabilities, both (N, C)."""
        layout = self._layout
        padded = scaled.take(layout.padded, axis=1)  # (N, C, M)
        # (N, R, M): the labels of each option. A head's log of the softmax's sum is the same for
        # all its options, so plain logits rank formats as log probabilities do.
        allowed = padded.take(layout.option_columns, axis=1)
        allowed += layout.option_masks
        best = allowed.argmax(axis=2)  # (N, R)
        value = np.maximum.reduce(allowed, axis=2)  # (N, R)
        options = np.empty((len(scaled), len(layout.columns)), np.int64)
        options[:] = layout.heads
        for reading in layout.readings:
            if reading.formats is not None:
                total = np.add.reduce(value.take(reading.formats, axis=1), axis=2)  # (N, F)
                options[:, reading.columns] = reading.formats.take(total.argmax(axis=1), axis=0)
        rows = np.arange(len(scaled))[:, None]
        choices = best[rows, options]
        # The softmax, of the chosen labels only; the first C options allow all labels.
        padded -= value[:, : len(layout.columns), None]
        np.exp(padded, out=padded)
        return choices, padded[rows, layout.heads, choices] / np.add.reduce(padded, axis=2)


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


@lru_cache(maxsize=32)
def _layout(schema: Schema) -> _Layout:
    sizes = tuple(head.size for head in schema.heads)
    ends = np.cumsum(sizes).tolist()
    at = {h.name: slice(end - h.size, end) for h, end in zip(schema.heads, ends, strict=True)}
    chosen = [head for head in schema.heads if head.kind is HeadKind.CHOICE]
    columns = {head.name: column for column, head in enumerate(chosen)}
    padded = np.full((len(chosen), max((head.size for head in chosen), default=1)), sum(sizes))
    for column, head in enumerate(chosen):
        padded[column, : head.size] = np.arange(at[head.name].start, at[head.name].stop)
    options = _Options(schema, columns)
    return _Layout(
        sizes=sizes,
        columns=columns,
        padded=padded,
        labels={h.name: at[h.name] for h in schema.heads if h.kind is HeadKind.LABELS},
        readings=tuple(options.place(reading) for reading in schema.readings),
        option_columns=np.asarray([column for column, _ in options.rows], np.int64),
        option_masks=options.masks(padded.shape[1]),
        heads=np.arange(len(chosen)),
    )


class _Options:
    """The distinct label sets of a schema's formats, each once; most formats share them."""

    def __init__(self, schema: Schema, columns: Mapping[str, int]) -> None:
        self._schema = schema
        self._columns = columns
        self.rows: dict[tuple[int, frozenset[int]], int] = {}
        for name, column in columns.items():
            self._add(column, range(schema.head(name).size))

    def _add(self, column: int, labels: Sequence[int]) -> int:
        return self.rows.setdefault((column, frozenset(labels)), len(self.rows))

    def place(self, reading: Reading) -> _Reading:
        heads = [self._schema.head(name) for name in reading.heads]
        columns = [self._columns[name] for name in reading.heads]
        formats = [
            [
                self._add(column, [head.labels.index(label) for label in labels])
                for column, head, labels in zip(columns, heads, allowed.positions, strict=True)
            ]
            for allowed in reading.formats
        ]
        return _Reading(
            name=reading.name,
            columns=np.asarray(columns, np.int64),
            formats=np.asarray(formats, np.int64) if formats else None,
            spelled=tuple(
                tuple("" if label == reading.blank else label for label in head.labels)
                for head in heads
            ),
        )

    def masks(self, width: int) -> npt.NDArray[np.float64]:
        masks = np.full((len(self.rows), width), -np.inf)
        for (_, labels), row in self.rows.items():
            masks[row, sorted(labels)] = 0.0
        return masks


def _spell(
    reading: _Reading,
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


def _finite(scores: npt.NDArray[np.float32]) -> bool:
    return bool(np.isfinite(scores).all())
