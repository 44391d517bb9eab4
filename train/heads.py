"""The one head module of every network: a linear layer per schema head on pooled features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from runtime.errors import ConfigError
from runtime.schema import Schema

__all__ = ["POOLS", "Heads", "pool_features"]

POOLS: Final = ("columns", "global")


def pool_features(features: Tensor, pool: str) -> Tensor:
    """Pool a feature map to one vector per sample.

    Args:
        features: (N, C, h, w).
        pool: ``columns`` averages over the height and keeps the w columns, so that a head can
            look at its place in a text: (N, C * w). ``global`` averages over both: (N, C).

    Raises:
        ConfigError: ``pool`` is unknown.
    """
    if pool == "columns":
        return features.mean(2).flatten(1)
    if pool == "global":
        return features.mean((2, 3))
    raise ConfigError(f"pool {pool!r} is unknown; use one of {POOLS}")


def _key(name: str) -> str:
    # torch's modules have attributes of their own, "type" for one; no head name holds a "-".
    return f"{name}-" if hasattr(nn.ModuleDict(), name) else name


class Heads(nn.Module):
    """One linear layer per head."""

    def __init__(self, schema: Schema, features: int) -> None:
        super().__init__()
        self._keys = {head.name: _key(head.name) for head in schema.heads}
        self.linear = nn.ModuleDict(
            {_key(head.name): nn.Linear(features, head.size) for head in schema.heads}
        )
        for layer in self.layers().values():
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def layers(self) -> Mapping[str, nn.Linear]:
        """Head name to its linear layer, in schema order."""
        return {
            name: layer
            for name, key in self._keys.items()
            if isinstance(layer := self.linear[key], nn.Linear)
        }

    def forward(self, pooled: Tensor) -> dict[str, Tensor]:
        """(N, features) to head name: (N, K) logits."""
        return {name: layer(pooled) for name, layer in self.layers().items()}

    def fused(self) -> tuple[nn.Linear, list[int]]:
        """Return one linear layer that computes all heads at once, and the heads' sizes.

        Engines run one wide layer faster than ten narrow ones.
        """
        layers = list(self.layers().values())
        sizes = [layer.out_features for layer in layers]
        fused = nn.Linear(layers[0].in_features, sum(sizes))
        with torch.no_grad():
            fused.weight.copy_(torch.cat([layer.weight for layer in layers]))
            fused.bias.copy_(torch.cat([layer.bias for layer in layers]))
        return fused, sizes
