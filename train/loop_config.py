"""The typed config of the training loop."""

from __future__ import annotations

from dataclasses import dataclass, field

from runtime.errors import ConfigError

from .augment import AugmentConfig
from .losses import LossConfig
from .mixing import MixingConfig
from .optim import OptimConfig
from .sampling import SamplingConfig

__all__ = ["LoopConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """Length, rhythm and arithmetic of a training.

    Raises:
        ConfigError: a count out of range, an unknown precision, or GHM with accumulation.
    """

    steps: int = 10_000
    """Optimiser steps."""
    batch: int = 64
    """Crops per step, of all processes together."""
    accumulate: int = 1
    """Parts in which a process computes its crops of a step, one after the other, to save memory.
    The same training within rounding, but BatchNorm sees one part at a time."""
    validate_every: int = 500
    """Steps between two validations; the last step always validates."""
    patience: int = 0
    """End after this many validations in a row without a better one; 0 never ends early."""
    ema: float = 0.0
    """Share of the moving average of weights that stays in every step, for example 0.999, in
    [0, 1). The average is validated and kept; 0 is off."""
    seed: int = 0
    """Of weights, order, augmentation and mixing."""
    precision: str = "auto"
    """``fp32``, ``bf16``, or ``auto``: bf16 where the processor multiplies it natively."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    mixing: MixingConfig = field(default_factory=MixingConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.validate_every) < 1:
            raise ConfigError("steps, batch and validate_every must be >= 1")
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed must be in [0, 2**63), got {self.seed}")
        if self.precision not in ("auto", "fp32", "bf16"):
            raise ConfigError(f"precision must be auto, fp32 or bf16, got {self.precision!r}")
        if not (1 <= self.accumulate <= self.batch and self.patience >= 0 and 0 <= self.ema < 1):
            raise ConfigError(
                "accumulate must be in [1, batch], patience >= 0 and ema in [0, 1), got "
                f"{self.accumulate}, {self.patience} and {self.ema}"
            )
        if self.accumulate > 1 and self.loss.uses_histograms():
            raise ConfigError(
                "accumulate must be 1 with ghm: its weights need the histogram of the whole batch "
                "before the first gradient"
            )
