"""The one head module of every network: a pool, and a linear layer per schema head."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from runtime.schema import Schema

from .pooling import Attention, Pool

__all__ = ["FusedHeads", "Heads"]


def _key(name: str) -> str:
    # torch's modules have attributes of their own, "type" for one; no head name holds a "-".
    return f"{name}-" if hasattr(nn.ModuleDict(), name) else name


class Heads(nn.Module):
    """One linear layer per head, on what the pool shows it."""

    def __init__(self, schema: Schema, pool: Pool) -> None:
        super().__init__()
        self.pool = pool
        self._keys = {head.name: _key(head.name) for head in schema.heads}
        self.linear = nn.ModuleDict(
            {_key(head.name): nn.Linear(pool.inputs, head.size) for head in schema.heads}
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

    def readers(self) -> Mapping[str, int]:
        """Layers that read the feature map, by name within this module, to inputs per channel."""
        found = {f"linear.{key}": self.pool.per_channel for key in self._keys.values()}
        return {"pool.score": 1, **found} if isinstance(self.pool, Attention) else found

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """(N, C, h, w) to head name: (N, K) logits."""
        pooled = self.pool(features)
        return {
            name: layer(self.pool.of_head(pooled, place))
            for place, (name, layer) in enumerate(self.layers().items())
        }


class FusedHeads(nn.Module):
    """Trained heads as engines run them fastest, logits in schema order.

    All heads become one linear layer: engines run one wide layer faster than ten narrow ones, even
    where every head looks at something of its own and most of the answers are thrown away.
    """

    def __init__(self, heads: Heads) -> None:
        super().__init__()
        self.heads = heads
        layers = list(heads.layers().values())
        self.sizes = [layer.out_features for layer in layers]
        self.fused = nn.Linear(layers[0].in_features, sum(self.sizes))
        with torch.no_grad():
            self.fused.weight.copy_(torch.cat([layer.weight for layer in layers]))
            self.fused.bias.copy_(torch.cat([layer.bias for layer in layers]))

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """(N, C, h, w) to one (N, K) logits per head."""
        answers = self.fused(self.heads.pool(features))
        if answers.ndim == 2:
            return torch.split(answers, self.sizes, dim=1)
        # Row h of (N, H, S) has the answers of head h; from their end to those of head h + 1 in the
        # next row it is S places.
        gap = answers.shape[2]
        sizes = [part for size in self.sizes for part in (size, gap)][:-1]
        return torch.split(answers.flatten(1), sizes, dim=1)[::2]
