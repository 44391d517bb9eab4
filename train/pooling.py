"""From a feature map to what the heads look at.

``columns`` and ``attention`` let a head look at its place in a text, ``global`` is for attributes
of the whole crop.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from runtime.errors import ConfigError
from runtime.schema import Schema

__all__ = ["POOLS", "Attention", "Average", "Columns", "Pool", "build_pool"]


class Pool(nn.Module):
    """Base of all pools.

    Attributes:
        inputs: Inputs of every head.
        per_channel: Inputs of a head per channel of the feature map, channel by channel.
    """

    inputs: int
    per_channel: int

    def of_head(self, pooled: Tensor, place: int) -> Tensor:
        """Return what the head at ``place`` in the schema looks at: (N, inputs)."""
        raise NotImplementedError


class _Shared(Pool):
    """All heads look at the same."""

    def of_head(self, pooled: Tensor, place: int) -> Tensor:
        """Return ``pooled`` itself."""
        del place
        return pooled


class Columns(_Shared):
    """Average over the height; every column keeps its place.

    Args:
        shape: (C, h, w) of the feature map.
    """

    def __init__(self, schema: Schema, shape: tuple[int, ...]) -> None:
        super().__init__()
        del schema
        channels, _, self.per_channel = _map_shape(shape, "columns")
        self.inputs = channels * self.per_channel

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) to (N, C * w)."""
        return features.mean(2).flatten(1)


class Average(_Shared):
    """Average over height and width; features that a backbone pooled itself stay as they are."""

    per_channel = 1

    def __init__(self, schema: Schema, shape: tuple[int, ...]) -> None:
        super().__init__()
        del schema
        self.inputs = shape[0]

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) or (N, C) to (N, C)."""
        return features.mean((2, 3)) if features.ndim == 4 else features


class Attention(Pool):
    """A weighted average over all places, with weights of its own for every head.

    As the parallel attention of Yu et al., "Towards Accurate Scene Text Recognition with Semantic
    Reasoning Networks", CVPR 2020, section 3.2: each character has a query, all are answered at
    once. A learnt preference for places is added; it starts as a bell around a character's share
    of the width, or flat for heads outside readings. Without that start the heads take thousands
    of steps to find their characters.

    Args:
        schema: Heads and readings.
        shape: (C, h, w) of the feature map.
    """

    per_channel = 1

    def __init__(self, schema: Schema, shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, height, width = _map_shape(shape, "attention")
        self.inputs = channels
        # A bias would add the same to all places, and softmax would cancel it.
        self.score = nn.Conv2d(channels, len(schema.heads), 1, bias=False)
        nn.init.normal_(self.score.weight, std=0.01)
        self.place = nn.Parameter(_start(schema, height, width))

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) to (N, H, C): one vector per head."""
        weights = (self.score(features).flatten(2) + self.place).softmax(2)  # (N, H, h * w)
        pooled: Tensor = weights @ features.flatten(2).transpose(1, 2)
        return pooled

    def of_head(self, pooled: Tensor, place: int) -> Tensor:
        """Return the head's own vector, (N, C)."""
        return pooled[:, place]


def _start(schema: Schema, height: int, width: int) -> Tensor:
    """Return where heads look first, (H, h * w): logits of places."""
    logits = torch.zeros(len(schema.heads), height, width)
    columns = torch.arange(width) + 0.5
    names = [head.name for head in schema.heads]
    for reading in schema.readings:
        share = width / len(reading.heads)
        for position, name in enumerate(reading.heads):
            distance = (columns - (position + 0.5) * share) / share
            logits[names.index(name)] = -0.5 * distance**2
    places: Tensor = logits.flatten(1)
    return places


def _map_shape(shape: tuple[int, ...], pool: str) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise ConfigError(
            f"pool {pool!r} needs a feature map (N, C, h, w), and this backbone returns pooled "
            f"features (N, {shape[0]}); use pool 'global'"
        )
    return shape[0], shape[1], shape[2]


POOLS: Final[Mapping[str, type[Columns] | type[Average] | type[Attention]]] = {
    "columns": Columns,
    "global": Average,
    "attention": Attention,
}


def build_pool(name: str, schema: Schema, features: object) -> Pool:
    """Return the pool called ``name`` for what a backbone returned for one crop.

    Raises:
        ConfigError: the name is unknown, or the features do not suit it.
    """
    if not isinstance(features, Tensor) or features.ndim not in (2, 4):
        found = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ConfigError(
            f"a backbone must return a feature map (N, C, h, w) or pooled features (N, C), got "
            f"{found}"
        )
    if name not in POOLS:
        raise ConfigError(f"pool {name!r} is unknown; use one of {tuple(POOLS)}")
    return POOLS[name](schema, tuple(features.shape[1:]))
