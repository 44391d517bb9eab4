"""The typed config of ``compress.search``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from benchmarks.arguments import POSITIONAL
from compress.distill.distillation import DistillationConfig
from compress.quantize.calibration import check_samples
from runtime.errors import ConfigError
from runtime.session import OPENERS
from train.augment import AugmentConfig
from train.data import CACHE_MB
from train.losses import LossConfig
from train.mixing import MixingConfig
from train.sampling import SamplingConfig

from .space import Candidate, candidates

__all__ = ["SearchConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """Find the best artifact that keeps a budget on this machine.

    Raises:
        ConfigError: an axis or a number out of range.
    """

    checkpoint: Annotated[Path, POSITIONAL]
    """Trained, unslimmed checkpoint: what candidates are cut from, their teacher, and what
    ``versus`` and ``speedup`` limits compare with (in torch, FP32, one thread)."""
    budget: Path
    """Limits (docs/budgets.md) that the artifact must keep."""
    data: tuple[Path, ...]
    """Training lists or trees."""
    validation: tuple[Path, ...]
    """Validation lists or trees: accuracy is judged on these. Keep test data for the end."""
    calibration: tuple[Path, ...]
    """Lists of real crops to measure INT8 ranges on."""
    output: Path
    """Folder to make. All trials stay in OUTPUT.run; the same command goes on from there."""
    widths: tuple[float, ...] = (1.0,)
    """Shares of the backbone's widths; below 1 a fresh student is distilled first."""
    targets: tuple[float, ...] = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
    """Shares of the parameters to slim away; 0 slims nothing."""
    precisions: tuple[str, ...] = ("int8", "fp32")
    """Precisions to try."""
    engines: tuple[str, ...] = ("onnx", "openvino")
    """Engines to try; each has its exporter."""
    prefer: Literal["latency", "size", "accuracy"] = "latency"
    """What is best among the artifacts that keep the budget."""
    trials: int = 12
    """Networks to train shortly, at most."""
    confirm: int = 3
    """Networks to train fully, at most."""
    timeout_minutes: float | None = None
    """Start no further short training after this time."""
    proxy: float = 0.1
    """Share of the steps below that a short training gets, in (0, 1]."""
    student_steps: int = 10000
    """Steps to distil a narrower student."""
    sparse_steps: int = 1500
    """Steps of sparsity training."""
    tune_steps: int = 3500
    """Steps of training after the removal."""
    lr: float = 2e-3
    """Peak learning rate of all trainings."""
    batch: int = 64
    """Crops per step."""
    repeats: tuple[int, ...] = ()
    """How often an epoch shows each of --data; once where not given."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """As all of augment, mixing and loss: on the command line, what is not given is taken from the
    training of the checkpoint."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    mixing: MixingConfig = field(default_factory=MixingConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    distill: DistillationConfig = field(default_factory=DistillationConfig)
    samples: int = 300
    """Calibration crops to draw, at least 32."""
    qat_steps: int = 0
    """Steps of training through the roundings of INT8, after a full training."""
    max_drop: float | None = None
    """Largest loss that INT8 may cost a fully trained network, as compress.quantize takes it."""
    max_flips: float | None = None
    """Largest share of answers that a final engine may change, as compress.quantize and the
    exporters' gate take it; their own where not given."""
    duration: float = 5.0
    """Least seconds per scenario when an artifact is judged."""
    engine_threads: int = 1
    """Threads of the engines."""
    worker: bool = False
    """Help a search that runs elsewhere with its short trainings: give the same options. OUTPUT.run
    must be the same folder for all, on a file system that they share."""
    storage: str | None = None
    """Optuna storage URL; a journal file in OUTPUT.run where not given."""
    seed: int = 0
    """Of the search, the trainings and the draw."""
    precision: str = "auto"
    """Of trainings: ``fp32``, ``bf16``, or ``auto``."""
    threads: int = 0
    """Threads of torch in trainings; 0 for one per core."""
    cache_mb: int = CACHE_MB
    """Memory for decoded crops, MiB."""
    skip_bad: bool = False
    """Leave bad rows out instead of failing."""
    overwrite: bool = False
    """Replace an existing OUTPUT."""

    def __post_init__(self) -> None:
        _ = self.candidates  # fails on an axis that cannot be
        check_samples(self.samples)
        unknown = sorted(set(self.engines) - set(OPENERS))
        if unknown:
            raise ConfigError(f"--engines {unknown} are unknown; use some of {sorted(OPENERS)}")
        counts = (self.trials, self.confirm, self.student_steps, self.tune_steps)
        if min(*counts, self.engine_threads) < 1 or min(self.sparse_steps, self.qat_steps) < 0:
            raise ConfigError(
                "need --trials, --confirm, --student-steps, --tune-steps and --engine-threads >= 1 "
                f"and --sparse-steps and --qat-steps >= 0, got {counts}, {self.engine_threads}, "
                f"{self.sparse_steps} and {self.qat_steps}"
            )
        if not (0 < self.proxy <= 1 and 0 < self.duration < 3600):
            raise ConfigError(
                f"need --proxy in (0, 1] and --duration in (0, 3600) s, got {self.proxy} and "
                f"{self.duration}"
            )
        if self.timeout_minutes is not None and not self.timeout_minutes >= 0:
            raise ConfigError(f"--timeout-minutes must be >= 0, got {self.timeout_minutes}")

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The whole space."""
        return candidates(self.widths, self.targets, self.precisions, self.engines)

    @property
    def run(self) -> Path:
        """Where all trials live."""
        return self.output.with_name(self.output.name + ".run")
