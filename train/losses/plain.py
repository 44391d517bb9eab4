"""The plain loss of every head: what validation reports, whatever the training minimised."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from runtime.schema import Head, HeadKind, Schema

from .elements import binary_cross_entropy, cross_entropy

__all__ = ["head_losses", "total_loss"]


def head_losses(
    schema: Schema, logits: Mapping[str, Tensor], targets: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return one scalar loss per head, the mean over the labels that are known.

    Args:
        schema: Heads in order.
        logits: Head name to (N, K).
        targets: Choice head to (N,) int64, labels head to (N, K); -1 where missing.
    """
    return {
        head.name: _head_loss(head, logits[head.name].float(), targets[head.name])
        for head in schema.heads
    }


def total_loss(schema: Schema, losses: Mapping[str, Tensor]) -> Tensor:
    """Return the sum of the heads' losses, each times its weight."""
    return torch.stack([head.loss_weight * losses[head.name] for head in schema.heads]).sum()


def _head_loss(head: Head, logits: Tensor, target: Tensor) -> Tensor:
    known = target >= 0
    if head.kind is HeadKind.CHOICE:
        each = cross_entropy(logits, target).squeeze(1)
    else:
        each = binary_cross_entropy(logits, target)
    # max(1): a batch may hold no label of this head; its loss is then 0, not NaN.
    return (each * known).sum() / known.sum().clamp(min=1)
