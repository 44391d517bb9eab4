"""The export gate: an engine must give the decoded answers of the checkpoint on real crops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

import numpy as np

from benchmarks.compare import FEWEST_CROPS, INT8_FLIPS, allowed_flips, flips
from runtime.arrays import Logits
from runtime.decode import Decoded, decode
from runtime.errors import ConfigError, ParityError
from runtime.schema import Schema
from runtime.scores import OperatingPoint, probabilities

__all__ = ["Flip", "GateConfig", "Parity", "compare_answers"]

_SHOWN: Final = 20
_LIMITS: Final[Mapping[str, tuple[float, float]]] = {
    "fp32": (0.001, 0.005),
    "fp16": (0.001, 0.02),
    "bf16": (0.001, 0.1),
}
"""(share of flips, probability difference) of float engines. On real plates FP32 engines were
within 0.000003, weights stored in FP16 within 0.0015, BF16 within 0.017, without a flip."""
_INTEGER_LIMITS: Final = (INT8_FLIPS, 1.0)
"""Of INT8 engines: an unsure crop may move by any probability, so flips decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateConfig:
    """How much an engine may differ from its checkpoint.

    Raises:
        ConfigError: a limit outside [0, 1].
    """

    max_flips: float | None = None
    """Largest share of crops whose decoded answer differs; default 0.001 for float engines and
    0.01 for INT8."""
    max_score_difference: float | None = None
    """Largest difference of any probability; default 0.005 for FP32, 0.02 for FP16, 0.1 for BF16,
    1 for INT8."""

    def __post_init__(self) -> None:
        limits = (self.max_flips, self.max_score_difference)
        if not all(limit is None or 0 <= limit <= 1 for limit in limits):
            raise ConfigError(f"gate limits must lie in [0, 1], got {limits}")

    def limits(self, precision: str) -> tuple[float, float]:
        """Return (share of flips, probability difference) for an engine's precision."""
        default = _LIMITS.get(precision, _INTEGER_LIMITS)
        flips_limit = default[0] if self.max_flips is None else self.max_flips
        score_limit = default[1] if self.max_score_difference is None else self.max_score_difference
        return flips_limit, score_limit


@dataclass(frozen=True, slots=True)
class Flip:
    """A crop whose answer differs."""

    index: int
    """Its place among the crops."""
    crop: str
    """What it is called."""
    checkpoint: str
    """The checkpoint's answer and confidence."""
    engine: str
    """The engine's."""

    def __str__(self) -> str:
        return f"{self.crop}: checkpoint {self.checkpoint}, engine {self.engine}"


@dataclass(frozen=True, slots=True)
class Parity:
    """An engine against its checkpoint on the same crops."""

    crops: int
    flipped: Sequence[Flip]
    """The crops whose answer differs, ascending."""
    max_score_difference: float
    """Largest difference of any probability of any head."""

    @property
    def flip_share(self) -> float:
        """Share of crops whose answer differs."""
        return len(self.flipped) / self.crops

    def to_object(self) -> Mapping[str, Any]:
        """Return plain JSON values for the manifest."""
        return {
            "crops": self.crops,
            "flips": len(self.flipped),
            "flipped": [str(flip) for flip in self.flipped[:_SHOWN]],
            "max_score_difference": self.max_score_difference,
        }

    def allowed(self, max_flips: float) -> float:
        """Return how many crops may flip where ``max_flips`` of all may."""
        return allowed_flips(max_flips, self.crops)

    def caution(self, max_flips: float) -> str:
        """Return what these crops cannot show though they pass; empty where they can."""
        if max_flips <= 0 or (self.crops >= FEWEST_CROPS and self.flip_share <= max_flips):
            return ""
        return (
            f"{self.crops} crops cannot show that at most {max_flips:.2%} of answers differ: one "
            f"alone is {1 / self.crops:.1%}; prove the engine on {ceil(1 / max_flips):,} or more"
        )

    def within(self, max_flips: float, max_score_difference: float) -> bool:
        """Whether the differences keep the limits; those that are no numbers do not."""
        few = len(self.flipped) <= self.allowed(max_flips)
        return few and self.max_score_difference <= max_score_difference

    def require(self, gate: GateConfig, precision: str) -> None:
        """Fail unless the differences keep the gate's limits.

        Raises:
            ParityError: they do not; the message lists the crops that flipped.
        """
        flips_limit, score_limit = gate.limits(precision)
        if self.within(flips_limit, score_limit):
            return
        shown = "\n  ".join(str(flip) for flip in self.flipped[:_SHOWN]) or "none"
        raise ParityError(
            f"the {precision} engine disagrees with its checkpoint on {len(self.flipped)} of "
            f"{self.crops} crops (allowed {self.allowed(flips_limit):.1f}), largest probability "
            f"difference {self.max_score_difference:.4f} (allowed {score_limit}); crops that "
            f"flipped:\n"
            f"  {shown}\nquantise with fewer --max-flips or on more typical crops, or loosen "
            "--gate.max-flips knowingly"
        )


def compare_answers(
    schema: Schema, expected: Logits, found: Logits, operating: OperatingPoint, names: Sequence[str]
) -> Parity:
    """Compare an engine's scores with the checkpoint's.

    Args:
        schema: Heads and readings.
        expected: The checkpoint's logits, head name to (N, K).
        found: The engine's.
        operating: One operating point for both, so that only the scores differ.
        names: N crop names for the report.
    """
    before, after = decode(schema, expected, operating), decode(schema, found, operating)
    changed = flips(before, after).where
    apart = [
        np.abs(probabilities(head, expected[head.name]) - probabilities(head, found[head.name]))
        for head in schema.heads
    ]
    # numpy's max, because Python's forgets a NaN that does not come first.
    difference = float(np.max([values.max() for values in apart]))
    flipped = [
        Flip(int(i), names[i], _answer(schema, before, i), _answer(schema, after, i))
        for i in changed
    ]
    return Parity(len(before), flipped, difference)


def _answer(schema: Schema, decoded: Decoded, index: int) -> str:
    """One sample's answer in words."""
    words = [answers.raw_texts[index] for answers in decoded.readings.values()]
    for head in schema.free_heads:
        if head.name in decoded.choices:
            words.append(head.labels[decoded.choices[head.name][index]])
        else:
            chosen = np.flatnonzero(decoded.labels[head.name][index])
            words.append("|".join(head.labels[i] for i in chosen) or "-")
    return f"{','.join(words)} ({decoded.confidence[index]:.3f})"
