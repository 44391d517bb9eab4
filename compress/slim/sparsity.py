"""Sparsity training: an L1 penalty on BatchNorm scales that makes them exactly zero.

Network slimming (Liu et al., "Learning Efficient Convolutional Networks through Network Slimming",
ICCV 2017, equation 1) adds lambda * sum |gamma| to the loss. Four things differ here:

- *Proximal.* The paper's subgradient never reaches zero, and an adaptive optimiser would normalise
  it away. Instead, after every step scales are soft-thresholded (Parikh & Boyd, "Proximal
  Algorithms", 2014, section 6.5.2), decoupled from the gradient as weight decay is in AdamW.
- *Grouped.* A residual addition ties the scales of several BatchNorms: a channel can leave only
  where all of them vanish. They are shrunk together (section 6.5.4; Yuan & Lin, "Model Selection
  and Estimation in Regression with Grouped Variables", 2006, with its sqrt(group size) weight).
- *Trimmed.* Only the channels that would be removed now are shrunk (Yun et al., "Trimming the l1
  Regularizer", ICML 2019). Where another normalisation follows, halving all scales of a group
  changes nothing, so the loss cannot hold them up: a penalty on all of them drove the good ones
  down with the bad. The choice is made anew at every step, so a channel can still be saved.
- *Relative.* The penalty on a group is in units of its mean scale before the training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from benchmarks.command import say
from train.loop import LoopConfig
from train.network import Network
from train.optim import learning_rate

from .scales import channel_scores, group_scales, multiply_scales
from .surgery import ChannelGroup

__all__ = ["BINS", "NEAR_ZERO", "ScaleShrinker", "total_rate"]

NEAR_ZERO: Final = 0.01
"""A scale below this share of its group's mean scale before the training counts as gone."""
BINS: Final = np.linspace(0.0, 2.0, 41)
"""Edges of the histogram of relative scales; larger ones count in the last bin."""


def total_rate(loop: LoopConfig) -> float:
    """Return the sum of the learning rates of all steps of a training."""
    return sum(learning_rate(step, loop.steps, loop.optim) for step in range(loop.steps))


@dataclass(frozen=True, slots=True)
class ScaleShrinker:
    """The proximal step of one sparsity training, and what it has reached."""

    groups: Sequence[ChannelGroup]
    units: Mapping[str, float]
    """Group name to its mean |gamma| before the training."""
    strength: float
    """Lambda: how far scales fall per step over the learning rate, in units of their group."""
    condemned: Callable[[Network], Mapping[str, Sequence[int]]]
    """Network to the channels to shrink, by group name. A function of the scales alone, so that a
    resumed run does the same."""

    def step(self, network: Network, rate: float) -> None:
        """Shrink once, in place; ``after_step`` of the training loop."""
        condemned = self.condemned(network)
        for group in self.groups:
            scales = group_scales(network, group)
            norm = scales.norm(dim=0)
            threshold = rate * self.strength * self.units[group.name] * len(scales) ** 0.5
            # where, not clamp: a norm of zero would make the quotient NaN.
            shrunk = torch.where(norm > threshold, 1 - threshold / norm, 0.0)
            factor = torch.ones_like(norm)
            index = torch.as_tensor(condemned[group.name], dtype=torch.long, device=norm.device)
            factor[index] = shrunk[index]
            multiply_scales(network, group, factor)

    def observe(self, network: Network) -> dict[str, Any]:
        """Return the share of near-zero scales and their histogram, for the history."""
        relative = np.concatenate([*channel_scores(network, self.groups, self.units).values()])
        share = float((relative < NEAR_ZERO).mean())
        say(f"  scales: {share:.1%} near zero, median {np.median(relative):.2f} of the start")
        counts, _ = np.histogram(np.minimum(relative, BINS[-1]), BINS)
        return {"near_zero": share, "scale_histogram": counts.tolist()}
