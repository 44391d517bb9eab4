"""Optimiser and learning-rate schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from runtime.errors import ConfigError

__all__ = ["OptimConfig", "build_optimiser", "learning_rate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """RAdam with warm-up and cosine decay, weight decay split by kind of parameter.

    Raises:
        ConfigError: a rate that is not positive, or a negative decay or warm-up.
    """

    lr: float = 2e-3
    """Peak learning rate."""
    final_lr: float = 2e-5
    """Learning rate of the last step."""
    warmup: int = 200
    """Steps over which the rate rises linearly to its peak."""
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


def build_optimiser(network: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """Return RAdam over three groups: weights, BatchNorm scales, the rest (never decayed).

    RAdam: Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", ICLR 2020.
    """
    scales, rest, weights = [], [], []
    for layer in network.modules():
        for name, parameter in layer.named_parameters(recurse=False):
            if name == "weight" and isinstance(layer, nn.BatchNorm2d):
                scales.append(parameter)
            elif name == "weight":
                weights.append(parameter)
            else:
                rest.append(parameter)
    groups = [
        {"params": weights, "weight_decay": config.conv_decay},
        {"params": scales, "weight_decay": config.scale_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    return torch.optim.RAdam(groups, lr=config.lr, decoupled_weight_decay=True)


def learning_rate(step: int, steps: int, config: OptimConfig) -> float:
    """Rate of ``step`` in [0, steps): linear warm-up, then half a cosine to ``final_lr``."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, steps - 1 - config.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return config.final_lr + (config.lr - config.final_lr) * cosine
