"""The typed config of ``compress.slim``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from benchmarks.arguments import POSITIONAL
from compress.distill.distillation import DistillationConfig
from runtime.errors import ConfigError
from train.augment import AugmentConfig
from train.data import CACHE_MB
from train.loop import LoopConfig
from train.losses import LossConfig
from train.mixing import MixingConfig
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
    latency_ms: float | None = None
    """Latency to reach for one crop on one thread, ms, in place of --target: channels are chosen by
    what they cost in --engine, or by --costs."""
    speedup: float | None = None
    """The same as a factor on the checkpoint's latency, above 1."""
    engine: Literal["onnxruntime", "openvino"] | None = None
    """Engine of this machine to count milliseconds in, and to measure the result with; with --costs
    of another device, only the latter."""
    costs: Path | None = None
    """Layer costs that `python -m compress.layer_costs` measured, here or on another device, or
    that come from another engine's own tools (docs/layer-costs.md); measured on --engine where not
    given."""
    sparsity: float = 2.0
    """How far the scale of a channel to be removed falls during the sparsity training, in units of
    its group's mean scale before: 2 reaches zero about half-way. This is the paper's lambda times
    the sum of all learning rates, so it means the same for any number of steps; 0 trains without
    penalty."""
    sparse_steps: int = 1500
    """Steps of sparsity training; 0 prunes by the scales as they are."""
    tune_steps: int = 3500
    """Steps of training after the removal; 0 stops after statistics are measured anew."""
    rounds: int = 1
    """Remove in so many rounds, each the same share of what is left, with a part of --tune-steps
    after each."""
    lr: float = 2e-3
    """Peak learning rate of both trainings."""
    batch: int = 64
    """Crops per step."""
    validate_every: int = 250
    """Steps between two validations; the last step always validates."""
    selection: Literal["global", "local"] = "global"
    """``global`` ranks the channels of all groups together; ``local`` takes the same share from
    every group."""
    round_to: int = 8
    """Channel counts are rounded up to a multiple of this."""
    min_channels: int = 8
    """Every group keeps at least this many channels."""
    max_ratio: float = 0.9
    """Every group loses at most this share of its channels."""
    score: Literal["auto", "normalised", "gamma", "loss"] = "auto"
    """``normalised``: scales against their group's mean before; ``gamma``: raw, as in the paper;
    ``loss``: scales rank the channels of a group, and how the loss rises as it is narrowed ranks
    the groups. ``auto`` is ``loss`` for a latency, else ``normalised``."""
    seed: int = 0
    """Of order and augmentation."""
    precision: str = "auto"
    """``fp32``, ``bf16``, or ``auto``: bf16 where the processor multiplies it natively."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """As all of augment, mixing and loss: on the command line, what is not given is taken from the
    training of the checkpoint."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    mixing: MixingConfig = field(default_factory=MixingConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    teacher: tuple[Path, ...] = ()
    """Checkpoints that the training after the removal follows beside the labels; the checkpoint
    that is slimmed may be one."""
    distill: DistillationConfig = field(default_factory=DistillationConfig)
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
        if self.rounds < 1 or (self.tune_steps and self.tune_steps < self.rounds):
            raise ConfigError(
                f"need --rounds >= 1 and a step of --tune-steps for each, got {self.rounds} rounds "
                f"and {self.tune_steps} steps"
            )
        targets = (self.target_macs, self.latency_ms, self.speedup)
        if sum(target is not None for target in targets) > 1:
            raise ConfigError("give one of --target-macs, --latency-ms and --speedup, not several")
        for name, value, least in (
            ("latency-ms", self.latency_ms, 0),
            ("speedup", self.speedup, 1),
        ):
            if value is not None and not least < value < float("inf"):
                raise ConfigError(f"--{name} must be above {least}, got {value}")
        if self.for_latency and self.engine is None and self.costs is None:
            raise ConfigError(
                "--latency-ms and --speedup need --engine to measure in, or --costs that "
                "`python -m compress.layer_costs` measured"
            )
        if self.teacher and not self.tune_steps:
            raise ConfigError("--teacher is for the training after the removal; raise --tune-steps")
        if self.costs is not None and not self.for_latency:
            raise ConfigError("--costs is for --latency-ms or --speedup; give one of them")

    @property
    def for_latency(self) -> bool:
        """Whether the goal is a latency."""
        return self.latency_ms is not None or self.speedup is not None

    def goal(self, whole_ms: float = 0.0) -> PruningGoal:
        """Return what to remove.

        Args:
            whole_ms: Latency of the checkpoint, for a goal of latency.

        Raises:
            ConfigError: a share outside (0, 1), or a latency that the checkpoint already has.
        """
        of, share = "parameters", self.target
        if self.target_macs is not None:
            of, share = "macs", self.target_macs
        elif self.speedup is not None:
            of, share = "latency", 1 - 1 / self.speedup
        elif self.latency_ms is not None:
            if not self.latency_ms < whole_ms:
                raise ConfigError(
                    f"--latency-ms {self.latency_ms:g} asks for nothing: the checkpoint takes "
                    f"{whole_ms:.3f} ms; give less"
                )
            of, share = "latency", 1 - self.latency_ms / whole_ms
        automatic = "loss" if self.for_latency else "normalised"
        return PruningGoal(
            share=share,
            of=of,
            score=automatic if self.score == "auto" else self.score,
            local=self.selection == "local",
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
            mixing=self.mixing,
            loss=self.loss,
        )
