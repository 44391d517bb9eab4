"""Crops that every kind of change shows on, and draws for a single kind."""

from __future__ import annotations

import torch
from torch import Tensor

from train.augment.draws import Draws, draws_of

__all__ = ["chequered", "draws", "plain"]


def chequered(count: int, height: int = 32, width: int = 96) -> Tensor:
    """(N, H, W, 3) uint8: coloured squares of 4 px, from a fixed seed."""
    random = torch.Generator().manual_seed(0)
    coarse = torch.randint(256, (count, height // 4, width // 4, 3), generator=random)
    return coarse.repeat_interleave(4, 1).repeat_interleave(4, 2).to(torch.uint8)


def plain(count: int, level: float, height: int = 32, width: int = 96) -> Tensor:
    """(N, 3, H, W) float32 of one grey level."""
    return torch.full((count, 3, height, width), level)


def draws(batch: int, *, rows: tuple[int, int] | None = None, change: int = 0) -> Draws:
    """Draws of step 0 of seed 0."""
    return draws_of(
        change,
        seed=0,
        step=0,
        rows=rows or (0, batch),
        batch=batch,
        device=torch.device("cpu"),
    )
