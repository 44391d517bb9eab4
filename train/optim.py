"""Optimisers and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

import torch
from torch import nn

from runtime.errors import ConfigError

__all__ = ["OptimConfig", "build_optimiser", "learning_rate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """An optimiser, its learning rates, and weight decay split by kind of parameter.

    Weight decay is decoupled from the gradient in all three optimisers (Loshchilov & Hutter,
    "Decoupled Weight Decay Regularization", ICLR 2019): a step takes lr x decay off a weight.

    Raises:
        ConfigError: a rate that is not positive, a negative decay or warm-up, a momentum outside
            [0, 1), milestones that do not rise within (0, 1), or a factor outside (0, 1).
    """

    optimiser: Literal["radam", "adamw", "sgd"] = "radam"
    """``radam``, ``adamw``, or ``sgd`` with Nesterov's momentum. SGD wants a higher rate and a
    lower decay, for example --loop.optim.lr 0.05 --loop.optim.conv-decay 0.002."""
    lr: float = 2e-3
    """Peak learning rate."""
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    """What follows the warm-up: half a ``cosine``, ``step`` by step down, or ``constant``."""
    final_lr: float = 2e-5
    """Learning rate of the last step, where the schedule is ``cosine``."""
    milestones: tuple[float, ...] = (0.5, 0.8)
    """When ``step`` goes down, as shares of the run, in (0, 1), rising."""
    factor: float = 0.1
    """What ``step`` multiplies the rate with, in (0, 1)."""
    warmup: int = 200
    """Steps over which the rate rises linearly to its peak."""
    momentum: float = 0.9
    """Of SGD, in [0, 1)."""
    conv_decay: float = 5e-2
    """Decoupled weight decay of convolution and linear weights."""
    scale_decay: float = 1e-3
    """Decoupled weight decay of BatchNorm scales."""
    clip_norm: float = 5.0
    """Largest norm of all gradients together."""

    def __post_init__(self) -> None:
        decays = (self.conv_decay, self.scale_decay, self.warmup)
        rates = 0 < self.final_lr <= self.lr < math.inf
        if not (rates and all(decay >= 0 for decay in decays) and self.clip_norm > 0):
            raise ConfigError(
                "need 0 < final_lr <= lr < inf, decays and warm-up >= 0, clip_norm > 0, got "
                f"lr {self.lr}, final_lr {self.final_lr}, decays {decays}, clip {self.clip_norm}"
            )
        if self.optimiser not in _OPTIMISERS or self.schedule not in _SCHEDULES:
            raise ConfigError(
                f"optimiser must be one of {[*_OPTIMISERS]} and schedule one of {[*_SCHEDULES]}, "
                f"got {self.optimiser!r} and {self.schedule!r}"
            )
        edges = (0.0, *self.milestones, 1.0)
        rising = all(low < high for low, high in pairwise(edges))
        if not (rising and 0 < self.factor < 1 and 0 <= self.momentum < 1):
            raise ConfigError(
                "need milestones that rise within (0, 1), factor in (0, 1) and momentum in [0, 1), "
                f"got {self.milestones}, {self.factor} and {self.momentum}"
            )


class DecoupledSGD(torch.optim.SGD):
    """SGD with momentum and decoupled weight decay (Loshchilov & Hutter, algorithm 1).

    torch's own adds the decay to the gradient, where momentum multiplies it by 1 / (1 - momentum).
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Shrink every weight that has a gradient, then do SGD's step."""
        for group in self.param_groups:
            _shrink(group, group["decay"])
        loss: float | None = super().step(closure)
        return loss


class RectifiedAdam(torch.optim.AdamW):
    """RAdam with decoupled weight decay, by torch's fused kernel of AdamW.

    Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", ICLR 2020. A step is one
    of Adam times the rectification r of equation 12. While r is not defined (the first five steps)
    the moments are gathered and the weights stay, as in the authors' own code; the paper's
    algorithm steps along the unscaled momentum there.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Do Adam's step with the rates of RAdam's, all groups having their own."""
        given = [(group["lr"], group["weight_decay"]) for group in self.param_groups]
        try:
            for group in self.param_groups:
                done = next((self.state[p]["step"] for p in group["params"] if self.state[p]), 0)
                factor = _rectification(int(done) + 1, group["betas"][1])
                # lr x decay is taken off in every step, whatever the rectification.
                if factor:
                    group["weight_decay"] /= factor
                else:
                    _shrink(group, group["weight_decay"])
                group["lr"] *= factor
            loss: float | None = super().step(closure)
        finally:
            for group, (lr, decay) in zip(self.param_groups, given, strict=True):
                group["lr"], group["weight_decay"] = lr, decay
        return loss


def _shrink(group: Mapping[str, Any], decay: float) -> None:
    """Take lr x decay off every weight of a group that has a gradient."""
    used = [parameter for parameter in group["params"] if parameter.grad is not None]
    if used and decay:
        torch._foreach_mul_(used, 1 - group["lr"] * decay)


def _rectification(step: int, beta2: float) -> float:
    """Return r of step 1, 2, ... (equation 12), 0 where the variance is not tractable yet."""
    longest = 2 / (1 - beta2) - 1
    power = beta2**step
    length = longest - 2 * step * power / (1 - power)
    if length <= 5:
        return 0.0
    scale = (longest - 4) * (longest - 2) * length
    return math.sqrt((length - 4) * (length - 2) * longest / scale)


def _sgd(groups: list[dict[str, Any]], config: OptimConfig) -> torch.optim.Optimizer:
    renamed = [{"params": group["params"], "decay": group["weight_decay"]} for group in groups]
    nesterov = config.momentum > 0
    return DecoupledSGD(renamed, lr=config.lr, momentum=config.momentum, nesterov=nesterov)


_Groups = list[dict[str, Any]]
# Fused takes AdamW's step for 7 million parameters from 37 to 11 ms on one core; torch's own RAdam
# has no fused kernel and takes 40 (80 without foreach). On a CPU torch does not choose it itself.
_OPTIMISERS: Final[Mapping[str, Callable[[_Groups, OptimConfig], torch.optim.Optimizer]]] = {
    "radam": lambda groups, config: RectifiedAdam(groups, lr=config.lr, fused=True),
    "adamw": lambda groups, config: torch.optim.AdamW(groups, lr=config.lr, fused=True),
    "sgd": _sgd,
}


def build_optimiser(network: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """Return the optimiser over three groups: weights, BatchNorm scales, the rest (not decayed)."""
    scales, rest, weights = [], [], []
    for layer in network.modules():
        for name, parameter in layer.named_parameters(recurse=False):
            if name == "weight" and isinstance(layer, nn.BatchNorm2d):
                scales.append(parameter)
            elif name == "weight" and parameter.ndim > 1:  # other norms' scales have one axis
                weights.append(parameter)
            else:
                rest.append(parameter)
    groups = [
        {"params": weights, "weight_decay": config.conv_decay},
        {"params": scales, "weight_decay": config.scale_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    return _OPTIMISERS[config.optimiser](groups, config)


def _cosine(step: int, steps: int, config: OptimConfig) -> float:
    progress = (step - config.warmup) / max(1, steps - 1 - config.warmup)
    share = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return config.final_lr + (config.lr - config.final_lr) * share


def _stairs(step: int, steps: int, config: OptimConfig) -> float:
    return config.lr * config.factor ** sum(step >= share * steps for share in config.milestones)


_SCHEDULES: Final[Mapping[str, Callable[[int, int, OptimConfig], float]]] = {
    "cosine": _cosine,
    "step": _stairs,
    "constant": lambda _, __, config: config.lr,
}


def learning_rate(step: int, steps: int, config: OptimConfig) -> float:
    """Rate of ``step`` in [0, steps): linear warm-up to the peak, then the schedule."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    return _SCHEDULES[config.schedule](step, steps, config)
