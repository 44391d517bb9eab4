"""Several readings of one vehicle as one answer: the evidence of all frames, position by position.

A frame says more than a text: how likely each label of each position is. Log probabilities add up
over frames (a logarithmic opinion pool: Genest and Zidek, "Combining Probability Distributions",
Statistical Science 1, 1986, section 3.2), and what they add up to is decoded as one frame would be,
with formats, temperatures and thresholds of the artifact. So two frames that each leave another
character unsure together leave none unsure, which no vote among texts can do.

Frames of one vehicle share its dirt, its angle and the network's prejudices: ten of them are not
ten witnesses. They count as ``n / (1 + (n - 1) * correlation)``, the effective sample size of
correlated observations (Kish, "Survey Sampling", 1965, section 5.4). This changes how sure the
answer is, never what it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from .arrays import Logits
from .drafting import Drafter
from .errors import ConfigError, EngineError
from .manifest import ArtifactName
from .results import Result, Timings
from .schema import HeadKind, Schema
from .scores import OperatingPoint, sigmoid, softmax

__all__ = ["Track", "TrackOptions"]

_NO_TIME: Final = Timings(0, 0, 0)
_LEAST_CONFIDENCE: Final = 1e-6
"""Of a frame that is to count at all."""
_MOST_TRUST: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackOptions:
    """How frames of a track add up.

    Raises:
        ConfigError: a value out of range.
    """

    correlation: float = 0.9
    """Between the errors of two frames, in [0, 1]: 0 counts every frame in full, 1 counts all
    frames together as one. The default was measured (docs/voting.md)."""
    trust: float = 2.0
    """Frames weigh their confidence to this power, >= 0; 0: all weigh the same. A blurred frame is
    surer of its wrong letters than it should be, but not as sure as a sharp one is."""
    doubt: float = 1e-4
    """Probability that a frame shows something else or nothing, in (0, 1): bounds what a single
    frame can say for or against a label."""

    def __post_init__(self) -> None:
        fits = 0 <= self.correlation <= 1 and 0 < self.doubt < 1 and 0 <= self.trust <= _MOST_TRUST
        if not fits:
            raise ConfigError(
                f"correlation must be in [0, 1], doubt in (0, 1) and trust in [0, {_MOST_TRUST}], "
                f"got {self.correlation}, {self.doubt} and {self.trust}"
            )


class Track:
    """The frames of one vehicle so far, in memory that does not grow; one thread at a time.

    Args:
        schema: Heads and readings.
        operating: Temperatures and thresholds of the engine that made the scores.
        options: How frames add up.
        artifact: Take results of this one only: evidence is of one network and its temperatures.
    """

    def __init__(
        self,
        schema: Schema,
        operating: OperatingPoint,
        options: TrackOptions | None = None,
        *,
        artifact: ArtifactName | None = None,
    ) -> None:
        self._artifact = artifact
        self._schema = schema
        self._options = options or TrackOptions()
        self._temperatures = {
            head.name: operating.temperatures.get(head.name, 1.0) for head in schema.heads
        }
        # Evidence is calibrated frame by frame, and must not be once more.
        self._drafter = Drafter(schema, replace(operating, temperatures={}), artifact)
        self._evidence = {head.name: np.zeros(head.size) for head in schema.heads}
        self._weights = self._squares = 0.0
        self.frames = 0
        """Results that were added."""

    def takes(self, result: Result) -> bool:
        """Whether a result is of this track's artifact; after a reload, begin a new track."""
        return self._artifact is None or result.artifact == self._artifact

    def add(self, result: Result, *, weight: float = 1.0) -> None:
        """Add what one frame says.

        Args:
            result: Of a reader that keeps scores.
            weight: How much this frame counts beside the others, > 0, besides its confidence:
                sharpness, size, or the detector's confidence.

        Raises:
            ConfigError: the result has no scores, or is of another artifact or schema; or the
                weight is not a finite number > 0.
            EngineError: a score is NaN or infinite.
        """
        if not 0 < weight < float("inf"):
            raise ConfigError(f"the weight of a frame must be > 0 and finite, got {weight}")
        if not self.takes(result):
            raise ConfigError(
                f"a track of {self._artifact} takes no result of {result.artifact}: the reader was "
                "reloaded; begin a new track"
            )
        if result.scores is None:
            raise ConfigError(
                "the result has no scores; open the reader with Reader.open(..., keep_scores=True)"
            )
        weight *= max(result.confidence, _LEAST_CONFIDENCE) ** self._options.trust
        evidence = self._evidence_of(result.scores)
        for name, values in evidence.items():
            self._evidence[name] += weight * values
        self._weights += weight
        self._squares += weight * weight
        self.frames += 1

    @property
    def effective_frames(self) -> float:
        """How many independent frames these are worth, in [0, frames]."""
        if not self.frames:
            return 0.0
        count = self._weights**2 / self._squares
        return count / (1 + (count - 1) * self._options.correlation)

    def answer(self) -> Result | None:
        """Return the answer of all frames together; None if there are none.

        Its confidence is that of the fused evidence, its timings are 0, and its scores are fused
        log probabilities, of temperature 1.
        """
        if not self.frames:
            return None
        scale = self.effective_frames / self._weights
        fused = {
            name: (scale * values)[None].astype(np.float32)
            for name, values in self._evidence.items()
        }
        (draft,) = self._drafter(fused)
        return draft(_NO_TIME, None, {name: scores[0] for name, scores in fused.items()})

    def _evidence_of(self, scores: Logits) -> dict[str, npt.NDArray[np.float64]]:
        """Return log probabilities per label; log odds for labels heads."""
        evidence = {}
        for head in self._schema.heads:
            values = scores.get(head.name)
            if values is None or values.shape != (head.size,):
                raise ConfigError(
                    f"expected ({head.size},) scores of head {head.name!r}, got "
                    f"{None if values is None else values.shape}; a track takes results of one "
                    "artifact, or of artifacts of one schema"
                )
            if not np.isfinite(values).all():
                raise EngineError(f"head {head.name!r}: the scores are NaN or infinite")
            scaled = values.astype(np.float64) / self._temperatures[head.name]
            doubt = self._options.doubt
            if head.kind is HeadKind.LABELS:
                probability = (1 - doubt) * sigmoid(scaled) + doubt / 2
                evidence[head.name] = np.log(probability) - np.log1p(-probability)
            else:
                evidence[head.name] = np.log((1 - doubt) * softmax(scaled) + doubt / head.size)
        return evidence
