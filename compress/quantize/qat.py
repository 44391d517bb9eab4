"""Quantisation-aware training: a short training through the roundings of the INT8 graph.

Starts from the ranges of calibration, BatchNorm folded, and ends with weights, and steps of
activations, that expect to be rounded. See ``fake_quant`` for the method.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast

import tyro

from compress.distill.distillation import DistillationConfig, open_distillation
from runtime.arrays import Images
from runtime.errors import ConfigError
from train.augment import AugmentConfig
from train.checkpoint import Checkpoint
from train.data import CACHE_MB, CropSet, load_crops
from train.loop import LoopConfig, run_training
from train.losses import LossConfig
from train.mixing import MixingConfig
from train.network import Network
from train.optim import OptimConfig
from train.sampling import SamplingConfig

from .decisions import Decisions
from .fake_quant import FakeQuantised
from .folding import fold_norms, unfold_norms

__all__ = ["QatConfig", "Tuned", "train_quantised"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QatConfig:
    """A training in INT8 after calibration.

    Raises:
        ConfigError: steps without ``data``, or a count out of range.
    """

    steps: Annotated[int, tyro.conf.arg(aliases=("--qat-steps",))] = 0
    """Steps of training; 0 for calibration alone."""
    data: Annotated[tuple[Path, ...], tyro.conf.arg(aliases=("--data",))] = ()
    """Training lists or trees."""
    repeats: tuple[int, ...] = ()
    """How often an epoch shows each of the training lists; once where not given."""
    lr: float = 2e-4
    """Peak learning rate: a tenth of what trained the network."""
    batch: int = 64
    """Crops per step."""
    validate_every: int = 250
    """Steps between two validations; the last step always validates."""
    teacher: Annotated[tuple[Path, ...], tyro.conf.arg(aliases=("--teacher",))] = ()
    """Checkpoints to distil from; the network that is quantised is a good one."""
    distill: DistillationConfig = field(default_factory=DistillationConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """As all of augment, mixing and loss: on the command line, what is not given is taken from the
    training of the checkpoint."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    mixing: MixingConfig = field(default_factory=MixingConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    cache_mb: int = CACHE_MB
    """Memory for decoded crops, MiB."""

    def __post_init__(self) -> None:
        if self.steps < 0 or (self.steps > 0 and not self.data):
            raise ConfigError(
                f"quantisation-aware training needs steps >= 0 and, with steps, training lists: "
                f"got {self.steps} steps and {len(self.data)} lists; pass --qat.data"
            )

    def loop(self, seed: int) -> LoopConfig:
        """Return the loop of the training."""
        return LoopConfig(
            steps=self.steps,
            batch=self.batch,
            validate_every=self.validate_every,
            seed=seed,
            # bfloat16 has the resolution of INT8 itself: it would round what is being rounded.
            precision="fp32",
            optim=OptimConfig(lr=self.lr, final_lr=self.lr / 100, warmup=min(50, self.steps // 10)),
            sampling=self.sampling,
            augment=self.augment,
            mixing=self.mixing,
            loss=self.loss,
        )


@dataclass(frozen=True, slots=True)
class Tuned:
    """What the training leaves."""

    network: Network
    """In float and in the checkpoint's form; BatchNorms that were folded only shift."""
    decisions: Decisions
    """Of its graph, with the steps that were learnt."""
    history: Sequence[Mapping[str, Any]]
    digests: Mapping[str, str]
    """Digests of the training data and teachers, by name."""


def train_quantised(
    config: QatConfig,
    source: Checkpoint,
    images: Images,
    validation: CropSet,
    run: Path,
    *,
    names: Collection[str] | None = None,
    seed: int,
    skip_bad: bool,
) -> Tuned:
    """Calibrate, train in INT8, and read ranges and weights back.

    Args:
        config: Length and data.
        source: Float checkpoint.
        images: (N, height, width, 3) uint8 calibration crops.
        validation: What to choose the best weights on.
        run: Folder of the training; it stays, for whoever writes the result to delete.
        names: Layers to run in INT8; None for all.
        seed: Of order and augmentation.
        skip_bad: Leave bad rows out instead of failing.

    Raises:
        HeadlightError: bad data, teachers, or an unfinished run of other settings.
        KeyboardInterrupt: interrupted; the same call goes on.
    """
    schema, spec, loop = source.schema, source.input, config.loop(seed)
    crops = load_crops(
        config.data,
        schema,
        spec,
        repeats=config.repeats,
        skip_bad=skip_bad,
        cache_mb=config.cache_mb,
    )
    network = source.build()
    folded, pairs = fold_norms(network, spec)
    first = Decisions.measure(folded, schema, spec, images)
    chosen = [layer for layer in first.layers if names is None or layer.name in names]
    student = FakeQuantised(folded, spec, chosen, first.steps)
    guidance = None
    if config.teacher:
        guidance = open_distillation(
            config.teacher,
            network,
            schema=schema,
            spec=spec,
            config=config.distill,
            loss=loop.loss,
        )
    result = run_training(
        cast(Network, student),  # it takes and returns what a Network does
        schema,
        crops,
        validation,
        loop,
        run,
        identity={
            "phase": "qat",
            "from": source.digest,
            "layers": [layer.name for layer in chosen],
            "steps": first.steps,
        },
        guidance=guidance,
        title="training in INT8",
    )
    student.write_back(folded)
    unfold_norms(network, folded, pairs)
    again = Decisions.measure(folded, schema, spec, images)
    decisions = Decisions(
        schema, spec, again.model, again.layers, {**again.steps, **student.steps()}
    )
    digests = {"data": crops.digest, **(guidance.digests if guidance else {})}
    return Tuned(network.eval(), decisions, result.history, digests)
