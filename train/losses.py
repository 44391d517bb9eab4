"""Losses per head, missing labels masked."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from runtime.schema import Head, HeadKind, Schema

__all__ = ["head_losses", "total_loss"]


def head_losses(
    schema: Schema,
    logits: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    *,
    label_smoothing: float = 0.0,
) -> dict[str, Tensor]:
    """Return one scalar loss per head, the mean over the samples whose label is known.

    Args:
        schema: Heads in order.
        logits: Head name to (N, K).
        targets: Choice head to (N,) int64, labels head to (N, K); -1 where missing.
        label_smoothing: Share of the target spread over all labels, in [0, 1) (Szegedy et al.,
            "Rethinking the Inception Architecture", CVPR 2016, section 7).
    """
    return {
        head.name: _head_loss(head, logits[head.name].float(), targets[head.name], label_smoothing)
        for head in schema.heads
    }


def total_loss(schema: Schema, losses: Mapping[str, Tensor]) -> Tensor:
    """Return the sum of the heads' losses, each times its weight."""
    return torch.stack([head.loss_weight * losses[head.name] for head in schema.heads]).sum()


def _head_loss(head: Head, logits: Tensor, target: Tensor, smoothing: float) -> Tensor:
    known = target >= 0
    # max(1): a batch may hold no label of this head; its loss is then 0, not NaN.
    count = known.sum().clamp(min=1)
    if head.kind is HeadKind.CHOICE:
        loss = functional.cross_entropy(
            logits, target, ignore_index=-1, label_smoothing=smoothing, reduction="sum"
        )
        return loss / count
    each = functional.binary_cross_entropy_with_logits(
        logits, target.clamp(min=0).float(), reduction="none"
    )
    return (each * known).sum() / count
