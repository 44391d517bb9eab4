"""Mixup and CutMix over pairs of rows of a batch.

- Mixup: Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018, equation 1.
- CutMix: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
  Features", ICCV 2019, equations 1 and 2.

Rows 2i and 2i + 1 are partners. A batch is drawn in a random order, so a fixed partner is a random
sample, and partners stay in one process wherever each has an even number of rows. Every pair has
its own share and box, drawn from (seed, step) for the whole batch in every process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from runtime.errors import ConfigError

from .losses import Truth

__all__ = ["MixingConfig", "mix"]

_STREAM: Final = 3
"""Tells these draws from all others that start from (seed, step)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MixingConfig:
    """How often and how much pairs of pictures are mixed; for attributes, hardly for texts.

    Raises:
        ConfigError: a negative alpha or a probability outside [0, 1].
    """

    mixup: float = 0.0
    """Alpha of mixup's Beta(alpha, alpha) distribution; 0 is off, 0.2 is usual."""
    cutmix: float = 0.0
    """Alpha of CutMix's Beta(alpha, alpha) distribution; 0 is off, 1 is usual. With both on, every
    pair draws one of them."""
    probability: float = 1.0
    """Probability that a pair is mixed at all."""

    def __post_init__(self) -> None:
        alphas = (self.mixup, self.cutmix)
        if not (all(0 <= a < float("inf") for a in alphas) and 0 <= self.probability <= 1):
            raise ConfigError(
                "mixing: need mixup and cutmix >= 0 and probability in [0, 1], got "
                f"{alphas} and {self.probability}"
            )

    @property
    def on(self) -> bool:
        """Whether anything is ever mixed."""
        return max(self.mixup, self.cutmix) > 0 and self.probability > 0


def mix(
    images: Tensor,
    targets: Mapping[str, Tensor],
    config: MixingConfig,
    *,
    seed: int,
    step: int,
    rows: tuple[int, int],
    batch: int,
) -> tuple[Tensor, tuple[Truth, ...]]:
    """Return the mixed pictures of a step and what they show.

    Args:
        images: (N, H, W, 3) uint8.
        targets: Choice head to (N,), labels head to (N, K); -1 where missing.
        config: How to mix.
        seed: Of the training.
        step: Of the training.
        rows: Places of the first row in the step's whole batch, even, and of the one after the
            last.
        batch: Rows in the whole batch.

    Returns:
        (N, H, W, 3) uint8, and one truth where nothing is mixed, else two: the rows' own and their
        partners'. A row's shares add up to 1; a last row without partner is its own.
    """
    count, height, width, _ = images.shape
    device = images.device
    if not config.on:
        return images, (Truth(targets, torch.ones(count, device=device)),)
    drawn = _draw(config, (height, width), (seed, _STREAM, step), (batch + 1) // 2)
    pairs = np.arange(*rows) // 2
    share, boxes, is_cut = (torch.from_numpy(part[pairs]).to(device) for part in drawn)
    own = np.arange(count)
    other = torch.from_numpy(np.minimum(own ^ 1, count - 1)).to(device)
    # What of every pixel stays: all or nothing with CutMix, the share with mixup.
    outside = (~_inside(boxes, height, width)).float()  # (N, H, W, 1)
    weight = torch.where(is_cut.view(-1, 1, 1, 1), outside, share.view(-1, 1, 1, 1))
    mixed = torch.lerp(images[other].float(), images.float(), weight).round_().to(torch.uint8)
    theirs = {name: target[other] for name, target in targets.items()}
    return mixed, (Truth(targets, share), Truth(theirs, 1 - share))


def _draw(
    config: MixingConfig, size: tuple[int, int], key: tuple[int, ...], pairs: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return every pair's share of its own picture, its box, and whether that is cut out.

    Args:
        config: How to mix.
        size: Height and width, px.
        key: Of the random numbers.
        pairs: P.

    Returns:
        (P,), (P, 4) of top, left, bottom and right, px, and (P,).
    """
    random = np.random.default_rng(key)
    mixed = random.random(pairs) < config.probability
    cut_chance = (config.cutmix > 0) / ((config.cutmix > 0) + (config.mixup > 0))
    is_cut = random.random(pairs) < cut_chance
    blend = random.beta(config.mixup or 1, config.mixup or 1, pairs)
    area = 1 - random.beta(config.cutmix or 1, config.cutmix or 1, pairs)
    half = np.sqrt(area)[:, None] * size / 2
    centre = random.uniform(0, size, (pairs, 2))
    boxes = np.rint(np.clip(np.hstack([centre - half, centre + half]), 0, (*size, *size)))
    # Of the box as it was cut off at the border.
    left = 1 - np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) / np.prod(size)
    share = np.where(mixed, np.where(is_cut, left, blend), 1)
    return share.astype(np.float32), boxes.astype(np.int64), is_cut & mixed


def _inside(boxes: Tensor, height: int, width: int) -> Tensor:
    """(N, 4) boxes to (N, height, width, 1): which pixels lie in them."""
    top, left, bottom, right = boxes.view(-1, 4, 1, 1).unbind(1)  # each (N, 1, 1)
    down = torch.arange(height, device=boxes.device).view(1, -1, 1)
    across = torch.arange(width, device=boxes.device).view(1, 1, -1)
    return ((down >= top) & (down < bottom) & (across >= left) & (across < right)).unsqueeze(3)
