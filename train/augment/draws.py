"""Random numbers for the rows of a batch, the same however the batch is split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["Draws", "draws_of"]

_STREAM: Final = 0x617567
"""Keeps these numbers apart from others that are drawn from a training's seed."""
ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """Draws for every row of a step's global batch and hands out the numbers of some.

    Every process draws the same numbers, on the host: a few per row, so that it costs little. So
    what is drawn must not depend on which rows a process has: draw also where none is chosen.
    """

    random: np.random.Generator
    places: npt.NDArray[np.int64]
    """(K,) places in the global batch of the rows that numbers are handed out for."""
    start: int
    """Place of this process's first row."""
    batch: int
    """Rows of the global batch."""
    device: torch.device

    def __len__(self) -> int:
        return len(self.places)

    @property
    def rows(self) -> Tensor:
        """(K,) indices of the rows in this process's part of the batch."""
        return torch.from_numpy(self.places - self.start).to(self.device)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Return (K, *shape) float32, uniform in [low, high)."""
        return self._own(self.random.uniform(low, high, (self.batch, *shape)))

    def normal(self, spread: float, *shape: int) -> Tensor:
        """Return (K, *shape) float32 of mean 0 and standard deviation ``spread``."""
        return self._own(self.random.normal(0, spread, (self.batch, *shape)))

    def field(self, *shape: int) -> Tensor:
        """Return (*shape) float32 of mean 0 and standard deviation 1, one for all rows."""
        return torch.from_numpy(self.random.standard_normal(shape, np.float32)).to(self.device)

    def one_of(self, items: Sequence[ItemT]) -> ItemT:
        """Return one item, the same for all rows."""
        return items[int(self.random.integers(len(items)))]

    def chosen(self, *probabilities: float) -> list[Draws]:
        """Return draws for the rows that each of several events falls on.

        Args:
            probabilities: Of events of which at most one falls on a row; they sum to 1 or less.
        """
        chance = self.random.random(self.batch)[self.places]
        edges = np.cumsum([0.0, *probabilities])
        return [
            replace(self, places=self.places[(low <= chance) & (chance < high)])
            for low, high in pairwise(edges)
        ]

    def _own(self, values: npt.NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(values[self.places].astype(np.float32)).to(self.device)


def draws_of(
    change: int, *, seed: int, step: int, rows: tuple[int, int], batch: int, device: torch.device
) -> Draws:
    """Return the draws of one kind of change.

    Args:
        change: Number of the kind: each has a stream of its own, so that the strength of one
            leaves the others' numbers as they are.
        seed: Of the training.
        step: Of the training.
        rows: First row of this process's part of the batch and the one after its last.
        batch: Rows of the global batch.
        device: Where the numbers are used.
    """
    random = np.random.default_rng((seed, step, _STREAM, change))
    return Draws(random, np.arange(*rows), rows[0], batch, device)
