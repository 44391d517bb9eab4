"""Training throughput against a plain loop: ``python -m train.speed cn-plate --data LIST...``.

Both train the same architecture with the same optimiser on the same crops, unaugmented, block by
block by turns in one process. The plain loop is what a tutorial has: a Dataset that reads, decodes
and resizes each picture, torch's DataLoader, FP32, NCHW.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import torch
import tyro
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.command import run_command, say
from benchmarks.environment import environment
from benchmarks.report import Rows, show_table, to_json
from runtime.errors import ConfigError
from runtime.preprocess import InputSpec
from runtime.schema import Schema
from runtime.staging import write_text

from .augment import AugmentConfig, augment_batch
from .data import CropSet, as_tensors, load_crops, training_batches
from .labels import resolve_schema
from .loop_config import LoopConfig
from .losses import MultiHeadLoss, head_losses, total_loss
from .memory import kept_memory
from .network import Network, build
from .optim import build_optimiser
from .parallel import Ranks
from .recipes import RECIPES
from .step import TrainingStep
from .threads import use_threads

__all__ = ["SpeedConfig", "main", "measure"]

_WARM_UP: Final = 2
"""Steps of a block before its clock starts."""
_UNCHANGED: Final = AugmentConfig(**dict.fromkeys(AugmentConfig.__dataclass_fields__, 0.0))
Block = Callable[[int], float]
"""Trains so many steps and returns the seconds that they took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedConfig:
    """Compare this package's training with a plain PyTorch loop.

    Raises:
        ConfigError: an unknown recipe, or a count below 1.
    """

    recipe: tyro.conf.Positional[str]
    """Recipe whose network, input and loop to take."""
    data: tuple[Path, ...]
    """Labelled lists or trees to train on."""
    schema: str = ""
    """Instead of the recipe's."""
    batch: int = 64
    """Crops per step."""
    steps: int = 20
    """Steps of a block."""
    blocks: int = 5
    """Blocks of each loop, by turns."""
    workers: int = 2
    """Processes of the plain loop's DataLoader."""
    threads: int = 0
    """Threads of torch; 0 for one per core."""
    output: Path | None = None
    """JSON file to write."""

    def __post_init__(self) -> None:
        if self.recipe not in RECIPES:
            raise ConfigError(f"recipe {self.recipe!r} is unknown; use one of {list(RECIPES)}")
        if min(self.batch, self.steps, self.blocks) < 1 or min(self.workers, self.threads) < 0:
            raise ConfigError("batch, steps and blocks must be >= 1, workers and threads >= 0")


def measure(config: SpeedConfig) -> dict[str, float]:
    """Time both loops by turns.

    Returns:
        ``plain_samples_s``, ``samples_s``, their ``ratio`` (the median over the turns), and of our
        step the ``loader_share`` (waiting for crops) and ``augment_share``, in [0, 1]; crops are
        augmented for that share only.

    Raises:
        DataError: the data cannot be used.
    """
    use_threads(config.threads)
    _, recipe = RECIPES[config.recipe]
    schema = resolve_schema(config.schema or recipe.schema, config.data)
    spec = InputSpec(height=recipe.imgsz[0], width=recipe.imgsz[1], resize=recipe.resize)
    crops = load_crops(config.data, schema, spec)
    # No cache: every picture is read and decoded when it is asked for, as a plain Dataset does.
    plain_crops = load_crops(config.data, schema, spec, cache_mb=0)
    torch.manual_seed(0)
    loop = LoopConfig(batch=config.batch, augment=_UNCHANGED, optim=recipe.loop.optim)
    waits: list[float] = []
    own = _own_block(build(schema, spec, recipe.network), schema, crops, loop, waits)
    plain = _plain_block(build(schema, spec, recipe.network), schema, plain_crops, loop, config)
    turns = []
    for turn in range(config.blocks):
        turns.append((plain(config.steps), own(config.steps)))
        say(f"turn {turn + 1}: plain {turns[-1][0]:.2f} s, ours {turns[-1][1]:.2f} s")
    samples = config.batch * config.steps
    step_s = median(mine for _, mine in turns) / config.steps
    changing_s = _augmenting_s(crops, recipe.loop, config.batch)
    return {
        "plain_samples_s": samples / median(theirs for theirs, _ in turns),
        "samples_s": samples / median(mine for _, mine in turns),
        "ratio": median(theirs / mine for theirs, mine in turns),
        "loader_share": median(waits) / step_s,
        "augment_share": changing_s / (step_s + changing_s),
    }


def _own_block(
    network: Network, schema: Schema, crops: CropSet, loop: LoopConfig, waits: list[float]
) -> Block:
    optimiser = build_optimiser(network, loop.optim)
    step = TrainingStep(network, optimiser, MultiHeadLoss(schema, loop.loss), loop, Ranks())

    def run(steps: int) -> float:
        batches = training_batches(crops, loop.sampling, batch=loop.batch, seed=0, start=0)
        with closing(batches), kept_memory():
            for number in range(_WARM_UP):
                step(next(batches), number, loop.optim.lr)
            began = time.perf_counter()
            for number in range(steps):
                asked = time.perf_counter()
                batch = next(batches)
                waits.append(time.perf_counter() - asked)
                step(batch, number, loop.optim.lr)
            return time.perf_counter() - began

    return run


class _PlainCrops(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """A picture and its labels, read anew every time."""

    def __init__(self, crops: CropSet) -> None:
        self._crops = crops
        self._targets = as_tensors(crops.targets)

    def __len__(self) -> int:
        return len(self._crops)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        image = torch.from_numpy(self._crops.images_at(np.array([index]))[0])
        return image, {name: target[index] for name, target in self._targets.items()}


def _plain_block(
    network: nn.Module, schema: Schema, crops: CropSet, loop: LoopConfig, config: SpeedConfig
) -> Block:
    plain: nn.Module = network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    optimiser = torch.optim.RAdam(plain.parameters(), lr=loop.optim.lr)
    loader = DataLoader(
        _PlainCrops(crops),
        batch_size=loop.batch,
        shuffle=True,
        drop_last=True,
        num_workers=config.workers,
    )

    def step(images: Tensor, targets: Mapping[str, Tensor]) -> None:
        optimiser.zero_grad()
        loss = total_loss(schema, head_losses(schema, plain(images), targets))
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    def endless() -> Generator[Any, None, None]:
        while True:
            yield from loader

    def run(steps: int) -> float:
        plain.train()
        batches = endless()
        with closing(batches):
            for _ in range(_WARM_UP):
                step(*next(batches))
            began = time.perf_counter()
            for _ in range(steps):
                step(*next(batches))
            return time.perf_counter() - began

    return run


def _augmenting_s(crops: CropSet, loop: LoopConfig, batch: int) -> float:
    images = torch.from_numpy(crops.images_at(np.arange(batch) % len(crops)))
    times = []
    for step in range(5 + _WARM_UP):
        began = time.perf_counter()
        augment_batch(images, loop.augment, seed=0, step=step, rows=(0, batch), batch=batch)
        times.append(time.perf_counter() - began)
    return median(times[_WARM_UP:])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(argv, SpeedConfig, _work, prog="python -m train.speed")


def _work(config: SpeedConfig) -> int:
    found = measure(config)
    rows: Rows = [
        {
            "plain loop, samples/s": f"{found['plain_samples_s']:.0f}",
            "train.fit, samples/s": f"{found['samples_s']:.0f}",
            "ratio": f"{found['ratio']:.2f}",
            "waiting for crops": f"{found['loader_share']:.1%}",
            "augmenting": f"{found['augment_share']:.1%}",
        }
    ]
    show_table(f"training {config.recipe}", rows)
    if config.output is not None:
        write_text(config.output, to_json({**found, "environment": environment()}))
        print(f"wrote {config.output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
