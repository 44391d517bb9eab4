"""A step and a validation of LPRNet's training, as its paper has them.

Section 4 of arXiv 1806.10447: Adam, batches of 32, learning rate 0.001 divided by 10 after 100,000
and 200,000 of 250,000 steps, gradient noise of scale 0.001, random affine transformations of the
crops. A shorter run keeps these shares. Strength of the transformations, start of the weights and
weight decay are the ones of the authors' published configuration (see ``lprnet``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
import tyro
from torch import Tensor, nn
from torch.nn import functional

from runtime.errors import ConfigError
from train.augment import PLATES, augment_batch
from train.data import CACHE_MB, Batch, CropSet
from train.step import uses_bf16

from .lprnet import LPRNet, Vocabulary, spelled
from .lprnet_files import as_input

__all__ = ["LprnetConfig", "LprnetTraining", "learning_rate"]

_SCORED_AT_ONCE: Final = 64
_START_STD: Final = 0.01
_DECAY: Final = 5e-4
_AFFINE_STD: Final = 0.1
_DROPS: Final = (0.4, 0.8)
"""100,000 and 200,000 of 250,000 steps."""
_STEPS_PER_SEED: Final = 1 << 32


@dataclass(frozen=True, slots=True, kw_only=True)
class LprnetConfig:
    """Train LPRNet on labelled crops.

    Raises:
        ConfigError: a count below 1, or a rate or noise out of range.
    """

    data: tuple[Path, ...] = tyro.MISSING
    """Training lists, tables, trees or tar shards."""
    validation: tuple[Path, ...] = tyro.MISSING
    """Validation data of the same kinds: chooses the weights that are kept."""
    output: Path = tyro.MISSING
    """Folder to make. An interrupted run waits in OUTPUT.run and goes on from there."""
    schema: str = "cn-plate"
    """Built-in schema or JSON file, with one reading; its other heads are left out."""
    repeats: tuple[int, ...] = ()
    """How often an epoch shows each of --data; once where not given."""
    steps: int = 250_000
    batch: int = 32
    lr: float = 1e-3
    """Learning rate of the first steps."""
    gradient_noise: float = 1e-3
    """Standard deviation of what is added to every gradient."""
    augment: Literal["paper", "headlight"] = "paper"
    """Affine transformations as in the paper, or the changes of our own plate recipes."""
    validate_every: int = 500
    """Steps between two validations; the last step always validates."""
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """``auto``: bf16 where the processor multiplies it natively, as in train.fit."""
    threads: int = 1
    """Threads of torch."""
    cache_mb: int = CACHE_MB
    """Memory for decoded crops, MiB."""

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.validate_every, self.threads) < 1:
            raise ConfigError("steps, batch, validate_every and threads must be >= 1")
        if not (0 < self.lr < 1 and 0 <= self.gradient_noise < 1 and self.seed >= 0):
            raise ConfigError(
                "need lr in (0, 1), gradient_noise in [0, 1) and seed >= 0, got "
                f"{self.lr}, {self.gradient_noise} and {self.seed}"
            )


def learning_rate(step: int, config: LprnetConfig) -> float:
    """Return the learning rate of a step, counted from 0: divided by 10 at each drop."""
    passed = sum(step >= share * config.steps for share in _DROPS)
    return config.lr * 0.1**passed


@dataclass(frozen=True, slots=True)
class LprnetTraining:
    """The network and all that a step or a validation takes."""

    config: LprnetConfig
    vocabulary: Vocabulary
    network: LPRNet
    optimiser: torch.optim.Adam

    @classmethod
    def fresh(cls, config: LprnetConfig, vocabulary: Vocabulary) -> LprnetTraining:
        """Return the state before the first step, a function of the seed."""
        torch.manual_seed(config.seed)
        network = LPRNet(len(vocabulary))
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        weights = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        for weight in weights:
            nn.init.trunc_normal_(weight, std=_START_STD, a=-2 * _START_STD, b=2 * _START_STD)
        kept = {id(weight) for weight in weights}
        others = [each for each in network.parameters() if id(each) not in kept]
        groups: list[dict[str, Any]] = [
            {"params": weights, "weight_decay": _DECAY},
            {"params": others},
        ]
        return cls(config, vocabulary, network, torch.optim.Adam(groups, lr=config.lr))

    def step(self, batch: Batch, number: int) -> float:
        """Do one step and return its loss.

        Raises:
            ConfigError: the loss is not finite.
        """
        config, network = self.config, self.network.train()
        # Dropout, transformations and noise: all a function of (seed, step).
        torch.manual_seed(config.seed * _STEPS_PER_SEED + number)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(number, config)
        images = self._changed(batch.images, number)
        with torch.autocast("cpu", torch.bfloat16, enabled=uses_bf16(config.precision)):
            logits = network(images)
        loss = self._loss(logits, batch.targets)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if config.gradient_noise:
            gradients = [each.grad for each in network.parameters() if each.grad is not None]
            for gradient in gradients:
                gradient.add_(torch.randn_like(gradient), alpha=config.gradient_noise)
        self.optimiser.step()
        value = loss.item()
        if not value < float("inf"):
            raise ConfigError(f"the loss became {value}; lower --lr or check the labels")
        return value

    def _changed(self, images: Tensor, number: int) -> Tensor:
        """Return augmented crops as the network takes them."""
        if self.config.augment == "headlight":
            whole, seed = len(images), self.config.seed
            images = augment_batch(
                images, PLATES, seed=seed, step=number, rows=(0, whole), batch=whole
            )
            return as_input(images)
        moved = torch.empty(len(images), 2, 3)
        nn.init.trunc_normal_(moved, std=_AFFINE_STD, a=-2 * _AFFINE_STD, b=2 * _AFFINE_STD)
        taken = as_input(images)
        grid = functional.affine_grid(
            moved + torch.eye(2, 3), list(taken.shape), align_corners=False
        )
        changed = functional.grid_sample(taken, grid, padding_mode="border", align_corners=False)
        return changed.contiguous(memory_format=torch.channels_last)

    def _loss(self, logits: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """Return the mean CTC loss of a text."""
        sequences, lengths = self.vocabulary.sequences(
            [targets[name] for name in self.vocabulary.heads]
        )
        scores = logits.float().log_softmax(2).transpose(0, 1)  # (T, N, K)
        steps = torch.full_like(lengths, len(scores))
        total = functional.ctc_loss(
            scores,
            sequences.clamp(min=0),
            steps,
            lengths,
            blank=self.vocabulary.blank,
            reduction="sum",
        )
        return total / len(lengths)

    @torch.inference_mode()
    def validate(self, crops: CropSet) -> tuple[float, float]:
        """Return the share of texts that are right by the best path, and the mean loss."""
        network, right, loss, start = self.network.eval(), 0, 0.0, 0
        for images in crops.image_batches(_SCORED_AT_ONCE):
            rows = range(start, start + len(images))
            targets = {
                name: torch.from_numpy(crops.targets.choices[name][rows.start : rows.stop])
                for name in self.vocabulary.heads
            }
            logits = network(as_input(torch.from_numpy(images)))
            loss += self._loss(logits, targets).item() * len(images)
            truths = self.vocabulary.sequences(list(targets.values()))[0].numpy()
            texts, most = spelled(logits.numpy(), self.vocabulary.blank), truths.shape[1]
            right += int(((texts[:, :most] == truths).all(axis=1) & (texts[:, most] < 0)).sum())
            start = rows.stop
        return right / len(crops), loss / len(crops)
