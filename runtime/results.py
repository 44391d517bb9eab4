"""What a reader answers for one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from .arrays import Logits
from .manifest import ArtifactName

__all__ = ["HeadAnswer", "ReadingAnswer", "Result", "Timings"]


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
    artifact: ArtifactName | None = None
    """Which artifact answered; a reader may be given another while it runs."""
