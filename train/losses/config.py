"""Which loss every head minimises."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from runtime.errors import ConfigError
from runtime.schema import Head, HeadKind
from train.assignments import NamedNumbers, NamedTexts

__all__ = ["LOSSES", "AsymmetricConfig", "FocalConfig", "HarmonyConfig", "LossConfig"]

LOSSES = {
    HeadKind.CHOICE: ("ce", "focal", "ghm"),
    HeadKind.LABELS: ("bce", "focal", "ghm", "asymmetric"),
}
"""Names of the losses that fit each kind of head."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FocalConfig:
    """Focal loss (Lin et al., ICCV 2017).

    Raises:
        ConfigError: a negative gamma, or an alpha outside (0, 1).
    """

    gamma: float = 2.0
    """How much sure answers count less; 0 is cross-entropy."""
    alpha: float | None = None
    """Labels heads: weight where the label applies, in (0, 1); 1 - alpha where it does not. Choice
    heads have --loop.loss.class-weights for this."""

    def __post_init__(self) -> None:
        alpha_fits = self.alpha is None or 0 < self.alpha < 1
        if not (0 <= self.gamma < math.inf and alpha_fits):
            raise ConfigError(
                f"focal: need gamma >= 0 and alpha in (0, 1), got {self.gamma} and {self.alpha}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class HarmonyConfig:
    """GHM-C, the gradient harmonising mechanism (Li et al., AAAI 2019).

    Raises:
        ConfigError: fewer than 2 bins, or a momentum outside [0, 1).
    """

    bins: int = 30
    """Equal bins of the gradient norm in [0, 1]."""
    momentum: float = 0.75
    """Share of the old count in a bin's moving average, in [0, 1); 0 takes each batch alone."""
    over: Literal["head", "all"] = "head"
    """One histogram per ``head``, or one pooled over ``all`` GHM heads."""
    elements: Literal["true", "every"] = "true"
    """What a choice head counts: the gradient of its ``true`` class, which keeps the mean weight at
    1, or that of ``every`` class, most of which is easy, so that rare errors weigh up to K times as
    much."""

    def __post_init__(self) -> None:
        if self.bins < 2 or not 0 <= self.momentum < 1:
            raise ConfigError(
                f"ghm: need bins >= 2 and momentum in [0, 1), got {self.bins} and {self.momentum}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class AsymmetricConfig:
    """Asymmetric loss of labels heads (Ridnik et al., ICCV 2021); its defaults are the paper's.

    Raises:
        ConfigError: a negative gamma, or a clip outside [0, 1).
    """

    gamma_neg: float = 4.0
    """How much sure answers count less where a label does not apply."""
    gamma_pos: float = 0.0
    """The same where it applies."""
    clip: float = 0.05
    """Probability below which a label that does not apply counts for nothing."""

    def __post_init__(self) -> None:
        gammas = (self.gamma_neg, self.gamma_pos)
        if not (all(0 <= gamma < math.inf for gamma in gammas) and 0 <= self.clip < 1):
            raise ConfigError(
                "asymmetric: need gamma_neg and gamma_pos >= 0 and clip in [0, 1), got "
                f"{gammas} and {self.clip}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """Which loss every head minimises; validation always reports the plain one.

    Raises:
        ConfigError: an unknown loss, or a weight or share out of range.
    """

    choice: Literal["ce", "focal", "ghm"] = "ce"
    """Loss of choice heads: cross-entropy, focal, or gradient-harmonised cross-entropy."""
    labels: Literal["bce", "focal", "ghm", "asymmetric"] = "bce"
    """Loss of labels heads: binary cross-entropy, focal, gradient-harmonised or asymmetric."""
    heads: NamedTexts = field(default_factory=dict)
    """Losses of single heads, for example ``char_1=ghm``."""
    head_weights: NamedNumbers = field(default_factory=dict)
    """Weights of single heads in place of the schema's, for example ``colour=0.5``."""
    smoothing: float = 0.0
    """Choice heads: share of the target spread over all labels, in [0, 1)."""
    class_weights: Literal["none", "data"] = "none"
    """Choice heads: ``data`` weighs every class by the inverse of its frequency, 1 on average."""
    pos_weight: Literal["none", "data"] | float = "none"
    """Labels heads, bce: factor where a label applies. ``data``: each label's negatives over
    positives in the training crops."""
    pos_weights: NamedNumbers = field(default_factory=dict)
    """The same for single labels, for example ``labels.black=4``."""
    label_weights: NamedNumbers = field(default_factory=dict)
    """Labels heads: weights of single labels, for example ``labels.shoe=2``."""
    max_weight: float = 20.0
    """Largest weight that is computed from data, and the inverse of the smallest."""
    focal: FocalConfig = field(default_factory=FocalConfig)
    ghm: HarmonyConfig = field(default_factory=HarmonyConfig)
    asymmetric: AsymmetricConfig = field(default_factory=AsymmetricConfig)

    def __post_init__(self) -> None:
        if not (0 <= self.smoothing < 1 and 1 <= self.max_weight < math.inf):
            raise ConfigError(
                "loss: smoothing must be in [0, 1) and max_weight >= 1, got "
                f"{self.smoothing} and {self.max_weight}"
            )
        known = {HeadKind.CHOICE: self.choice, HeadKind.LABELS: self.labels}
        wrong = [name for kind, name in known.items() if name not in LOSSES[kind]]
        if wrong:
            raise ConfigError(f"loss: unknown losses {wrong}; known are {dict(LOSSES)}")
        given = [] if isinstance(self.pos_weight, str) else [self.pos_weight]
        named = (self.head_weights, self.pos_weights, self.label_weights)
        _check_weights([*given, *(weight for weights in named for weight in weights.values())])

    def weight_of(self, head: Head) -> float:
        """Return the weight of a head's loss."""
        return self.head_weights.get(head.name, head.loss_weight)

    def kind_of(self, head: Head) -> str:
        """Return the name of a head's loss."""
        default = self.choice if head.kind is HeadKind.CHOICE else self.labels
        return self.heads.get(head.name, default)

    def uses_frequencies(self) -> bool:
        """Whether any weight is computed from data."""
        return "data" in (self.class_weights, self.pos_weight)

    def uses_histograms(self) -> bool:
        """Whether any head may minimise GHM-C, which looks at a whole batch at once."""
        return "ghm" in (self.choice, self.labels, *self.heads.values())


def _check_weights(weights: Iterable[float]) -> None:
    wrong = [weight for weight in weights if not 0 <= weight < math.inf]
    if wrong:
        raise ConfigError(f"loss: weights must be >= 0 and finite, got {wrong}")
