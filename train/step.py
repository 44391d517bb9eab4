"""One step of the optimiser: augment, mix, forward, loss, backward, update."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from runtime.errors import ConfigError

from .augment import augment_batch
from .data import Batch
from .fast_kernels import FastKernels
from .guidance import Guidance, trained_modules
from .loop_config import LoopConfig
from .losses import MultiHeadLoss, Truth
from .mixing import mix
from .network import Network
from .parallel import Ranks

__all__ = ["TrainingStep", "training_device", "uses_bf16"]


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """What every step does with this rank's rows of a batch.

    Raises:
        ConfigError: the ranks cannot share the batch.
    """

    network: Network
    optimiser: torch.optim.Optimizer
    loss: MultiHeadLoss
    config: LoopConfig
    ranks: Ranks
    guidance: Guidance | None = None
    """Minimised beside ``loss``."""

    def __post_init__(self) -> None:
        config, count = self.config, self.ranks.count
        if config.batch < count * config.accumulate:
            raise ConfigError(
                f"a batch of {config.batch} is too small for {count} processes with "
                f"{config.accumulate} parts each; raise --loop.batch"
            )
        if config.mixing.on and count > 1 and config.batch % (2 * count):
            raise ConfigError(
                f"mixing pairs rows within a process: --loop.batch must be a multiple of "
                f"{2 * count} for {count} processes, got {config.batch}"
            )

    def __call__(self, batch: Batch, step: int, rate: float) -> float:
        """Train on this rank's rows of a step and return the whole batch's loss.

        Raises:
            ConfigError: the loss is not finite; weights and moments are then of no use.
            HeadlightError: another rank ended.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.network.train()
        images, truths = self._changed(batch, step)
        counts = self.loss.counts(truths)
        self.optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=images.device)
        for start, stop in _parts(len(images), self.config.accumulate):
            part = [truth.rows(start, stop) for truth in truths]
            loss = self._minimised(images[start:stop], part, counts)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        trained = trained_modules(self.network, self.guidance)
        self.ranks.add_gradients(trained)
        torch.nn.utils.clip_grad_norm_(trained.parameters(), self.config.optim.clip_norm)
        self.optimiser.step()
        # Read last: it waits for the GPU, which by now has the whole step in its queue.
        value = self.ranks.add(total).item()
        if not math.isfinite(value):
            raise ConfigError(f"the loss became {value}; lower --loop.optim.lr or check the labels")
        return value

    def _changed(self, batch: Batch, step: int) -> tuple[Tensor, Sequence[Truth]]:
        config, device = self.config, training_device()
        seed, rows, whole = config.seed, self.ranks.rows(config.batch), config.batch
        images = batch.images.to(device)
        images = augment_batch(images, config.augment, seed=seed, step=step, rows=rows, batch=whole)
        targets = {name: target.to(device) for name, target in batch.targets.items()}
        return mix(images, targets, config.mixing, seed=seed, step=step, rows=rows, batch=whole)

    def _minimised(self, images: Tensor, truths: Sequence[Truth], counts: Tensor) -> Tensor:
        """Return these rows' part of the batch's loss."""
        bf16 = uses_bf16(self.config.precision)
        with FastKernels(), torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
            if self.guidance is None:
                logits, guided = self.network(images), None
            else:
                logits, guided = self.guidance(self.network, images)
        own: Tensor = self.loss(logits, truths, counts)
        return own if guided is None else own + guided * (len(images) / self.config.batch)


def _parts(count: int, parts: int) -> list[tuple[int, int]]:
    """Return where each of ``parts`` almost equal parts of ``count`` rows starts and stops."""
    return [(i * count // parts, (i + 1) * count // parts) for i in range(parts)]


def training_device() -> torch.device:
    """Return where networks are trained: this process' GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def uses_bf16(precision: str) -> bool:
    """Whether a training runs in bfloat16: asked for, or ``auto`` where the hardware has it."""
    if precision != "auto":
        return precision == "bf16"
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))
