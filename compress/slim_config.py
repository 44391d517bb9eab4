"""The typed config of ``compress.slim``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from benchmarks.arguments import POSITIONAL
from runtime.errors import ConfigError
from train.augment import AugmentConfig
from train.data import CACHE_MB
from train.loop import LoopConfig
from train.losses import LossConfig
from train.optim import OptimConfig
from train.sampling import SamplingConfig

from .pruning import PruningGoal
from .selection import Limits

__all__ = ["SlimConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlimConfig:
    """Remove the channels that a network can do without, and train it on."""

    checkpoint: Annotated[Path, POSITIONAL]
    """Checkpoint folder to slim; it stays as it is."""
    data: tuple[Path, ...]
    """Training lists or trees."""
    validation: tuple[Path, ...]
    """Validation lists or trees: choose the best weights, fit temperatures and thresholds."""
    output: Path
    """Checkpoint folder to make. An interrupted run waits in OUTPUT.run and goes on from there."""
    repeats: tuple[int, ...] = ()
    """How often an epoch shows each of --data; once where not given."""
    target: float = 0.7
    """Share of parameters to remove, in (0, 1)."""
    target_macs: float | None = None
    """Share of multiply-accumulates to remove, in (0, 1), in place of --target."""
    sparsity: float = 2.0
    """How far the scale of a channel to be removed falls during the sparsity training, in units of
    its group's mean scale before: 2 reaches zero about half-way. This is the paper's lambda times
    the sum of all learning rates, so it means the same for any number of steps; 0 trains without
    penalty."""
    sparse_steps: int = 1500
    """Steps of sparsity training; 0 prunes by the scales as they are."""
    tune_steps: int = 3500
    """Steps of training after the removal; 0 stops after statistics are measured anew."""
    lr: float = 2e-3
    """Peak learning rate of both trainings."""
    batch: int = 64
    """Crops per step."""
    validate_every: int = 250
    """Steps between two validations; the last step always validates."""
    round_to: int = 8
    """Channel counts are rounded up to a multiple of this."""
    min_channels: int = 8
    """Every group keeps at least this many channels."""
    max_ratio: float = 0.9
    """Every group loses at most this share of its channels."""
    score: Literal["normalised", "gamma"] = "normalised"
    """``normalised``: scales against their group's mean before; ``gamma``: raw, as in the paper."""
    seed: int = 0
    """Of order and augmentation."""
    precision: str = "auto"
    """``fp32``, ``bf16``, or ``auto``: bf16 where the processor multiplies it natively."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    threads: int = 0
    """Threads of torch; 0 for one per core."""
    cache_mb: int = CACHE_MB
    """Memory for decoded crops, MiB; those beyond it are decoded whenever they are needed."""
    skip_bad: bool = False
    """Leave bad rows out instead of failing."""
    overwrite: bool = False
    """Replace an existing OUTPUT."""

    def __post_init__(self) -> None:
        if min(self.sparse_steps, self.tune_steps) < 0 or not 0 <= self.sparsity < float("inf"):
            raise ConfigError(
                "need --sparse-steps, --tune-steps and --sparsity >= 0, got "
                f"{self.sparse_steps}, {self.tune_steps} and {self.sparsity}"
            )

    @property
    def goal(self) -> PruningGoal:
        """What to remove."""
        return PruningGoal(
            share=self.target if self.target_macs is None else self.target_macs,
            of_macs=self.target_macs is not None,
            score=self.score,
            limits=Limits(
                round_to=self.round_to, min_channels=self.min_channels, max_ratio=self.max_ratio
            ),
        )

    def phase(self, steps: int, *, final_lr: float, seed: int) -> LoopConfig:
        """Return the loop of a training that ends at ``final_lr``."""
        return LoopConfig(
            steps=steps,
            batch=self.batch,
            validate_every=self.validate_every,
            seed=seed,
            precision=self.precision,
            optim=OptimConfig(lr=self.lr, final_lr=final_lr, warmup=min(100, steps // 10)),
            sampling=self.sampling,
            augment=self.augment,
            loss=self.loss,
        )
