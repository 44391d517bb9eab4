"""From logits to probabilities and to accept or abstain: temperatures and thresholds.

The values are fitted on validation data by ``benchmarks.operating_point``, anew for every
exported engine, and travel in its manifest. Temperature scaling after Guo et al., "On Calibration
of Modern Neural Networks", ICML 2017, section 4.2, one temperature per head.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .arrays import Floats
from .errors import ConfigError
from .schema import Head, HeadKind, Schema
from .strict import StrictObject

__all__ = ["ACCEPT_NOTHING", "OperatingPoint", "probabilities", "sigmoid", "softmax"]

ACCEPT_NOTHING: Final = 2.0
"""Answer threshold of a model that reached the precision floor nowhere; above every confidence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """Calibration and thresholds of one engine.

    Raises:
        ConfigError: a temperature that is not positive or a threshold outside [0, 2].
    """

    temperatures: Mapping[str, float] = field(default_factory=dict)
    """Head name to the number that its logits are divided by; 1 where absent."""
    choice_thresholds: Mapping[str, float] = field(default_factory=dict)
    """Choice head to the probability under which its label is not to be trusted; 0 if absent."""
    label_thresholds: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Labels head to one probability threshold per label; 0.5 where absent."""
    answer_threshold: float | None = None
    """Joint confidence from which a whole answer is accepted; None: never fitted, accept all."""
    precision_floor: float | None = None
    """Precision of the accepted answers that the thresholds were fitted for."""
    fitted_on: str | None = None
    """What the values were fitted on: file, number of samples and digest."""

    def __post_init__(self) -> None:
        for name, value in self.temperatures.items():
            if not 0 < value < float("inf"):
                raise ConfigError(f"temperature of head {name!r} must be positive, got {value}")
        thresholds = [*self.choice_thresholds.values(), *sum(self.label_thresholds.values(), ())]
        if self.answer_threshold is not None:
            thresholds.append(self.answer_threshold)
        if not all(0 <= value <= ACCEPT_NOTHING for value in thresholds):
            raise ConfigError(f"thresholds must lie in [0, {ACCEPT_NOTHING:g}], got {thresholds}")
        if self.precision_floor is not None and not 0 < self.precision_floor <= 1:
            raise ConfigError(f"precision_floor must lie in (0, 1], got {self.precision_floor}")

    def check_schema(self, schema: Schema) -> None:
        """Fail unless every name and length fits ``schema``.

        Raises:
            ConfigError: a value for an unknown head or one of the other kind, or a wrong number
                of label thresholds.
        """
        known = {head.name: head for head in schema.heads}
        named = {*self.temperatures, *self.choice_thresholds, *self.label_thresholds}
        if named - set(known):
            raise ConfigError(f"operating point names unknown heads {sorted(named - set(known))}")
        for names, kind in (
            (self.choice_thresholds, HeadKind.CHOICE),
            (self.label_thresholds, HeadKind.LABELS),
        ):
            wrong = sorted(name for name in names if known[name].kind is not kind)
            if wrong:
                raise ConfigError(
                    f"operating point gives {kind} thresholds to heads of the other kind: {wrong}"
                )
        for name, values in self.label_thresholds.items():
            if len(values) != known[name].size:
                raise ConfigError(
                    f"head {name!r}: expected {known[name].size} label thresholds, "
                    f"got {len(values)}"
                )

    def thresholds_of(self, head: Head) -> npt.NDArray[np.float64]:
        """Return the per-label thresholds of a labels head, shape (K,)."""
        return np.asarray(self.label_thresholds.get(head.name, (0.5,) * head.size))

    def to_object(self) -> dict[str, Any]:
        """Return plain JSON values; ``from_object`` is the inverse."""
        return {
            "temperatures": dict(self.temperatures),
            "choice_thresholds": dict(self.choice_thresholds),
            "label_thresholds": {name: list(v) for name, v in self.label_thresholds.items()},
            "answer_threshold": self.answer_threshold,
            "precision_floor": self.precision_floor,
            "fitted_on": self.fitted_on,
        }

    @classmethod
    def from_object(cls, value: object) -> OperatingPoint:
        """Parse what ``to_object`` wrote.

        Raises:
            ConfigError: unknown keys, wrong types or values out of range.
        """
        with StrictObject(value, "operating point", ConfigError) as item:
            label_thresholds = {}
            with StrictObject(
                item.mapping("label_thresholds"), "label_thresholds", ConfigError
            ) as o:
                for name in item.mapping("label_thresholds"):
                    label_thresholds[name] = o.numbers(name)
            return cls(
                temperatures=_numbers(item.mapping("temperatures"), "temperatures"),
                choice_thresholds=_numbers(item.mapping("choice_thresholds"), "choice_thresholds"),
                label_thresholds=label_thresholds,
                answer_threshold=item.optional_number("answer_threshold"),
                precision_floor=item.optional_number("precision_floor"),
                fitted_on=item.optional_text("fitted_on"),
            )


def _numbers(value: Mapping[str, Any], what: str) -> dict[str, float]:
    with StrictObject(value, what, ConfigError) as item:
        return {name: item.number(name) for name in value}


def probabilities(head: Head, logits: Floats, temperature: float = 1.0) -> npt.NDArray[np.float64]:
    """Turn a head's logits into calibrated probabilities.

    Args:
        head: The head that the logits belong to.
        logits: (N, K).
        temperature: Divisor of the logits, > 0.

    Returns:
        (N, K) in [0, 1]; rows of a choice head sum to 1.
    """
    scaled = np.asarray(logits, np.float64) / temperature
    return sigmoid(scaled) if head.kind is HeadKind.LABELS else softmax(scaled)


def softmax(scaled: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Turn scores into probabilities that sum to 1 along the last axis; -inf gives 0."""
    # ufunc methods: np.max and np.sum cost twice as much on arrays as small as one answer.
    shifted = np.exp(scaled - np.maximum.reduce(scaled, axis=-1, keepdims=True))
    shifted /= np.add.reduce(shifted, axis=-1, keepdims=True)
    return shifted


def sigmoid(scaled: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Turn each score into a probability of its own."""
    # exp of a large positive number overflows; the clip changes nothing in float64.
    inverted: npt.NDArray[np.float64] = 1.0 + np.exp(-np.clip(scaled, -700, 700))
    return 1.0 / inverted
