"""Losses of single elements, before any mean is taken.

An element is a sample of a choice head, (N, 1), or a label of a sample of a labels head, (N, K).
Logits come in FP32: the logarithm of a rounded probability would be rough. Where a label is missing
(-1) an element is finite and means nothing; the caller leaves it out.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "asymmetric",
    "binary_cross_entropy",
    "cross_entropy",
    "sigmoid_focal",
    "smoothed",
    "softmax_focal",
]

_LEAST: Final = 1e-6
"""Base of a power: below 1, an exponent makes the slope at 0 infinite."""


def smoothed(target: Tensor, labels: int, smoothing: float) -> Tensor:
    """Return the target distributions (N, K) of label indices (N,).

    ``smoothing`` is the share of a target that is spread over all labels, in [0, 1) (Szegedy et
    al., "Rethinking the Inception Architecture", CVPR 2016, section 7).
    """
    hard = functional.one_hot(target.clamp(min=0), labels).float()
    return hard * (1 - smoothing) + smoothing / labels


def cross_entropy(logits: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """Softmax cross-entropy: (N, K) logits and (N,) labels to (N, 1)."""
    each = functional.cross_entropy(
        logits, target, ignore_index=-1, label_smoothing=smoothing, reduction="none"
    )
    return each.unsqueeze(1)


def softmax_focal(
    logits: Tensor, target: Tensor, *, gamma: float, smoothing: float = 0.0
) -> Tensor:
    """Focal loss of a softmax: (N, K) logits and (N,) labels to (N, 1).

    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equation 4, summed over the
    target distribution: -sum_c y_c (1 - p_c)^gamma log p_c.
    """
    log_p = functional.log_softmax(logits, 1)
    focus = (1 - log_p.exp()).clamp(min=_LEAST) ** gamma
    wanted = smoothed(target, logits.shape[1], smoothing)
    return -(wanted * focus * log_p).sum(1, keepdim=True)


def binary_cross_entropy(
    logits: Tensor, target: Tensor, pos_weight: Tensor | None = None
) -> Tensor:
    """Sigmoid cross-entropy: (N, K) logits and flags to (N, K).

    Args:
        logits: (N, K).
        target: (N, K) of 0 and 1, -1 where missing.
        pos_weight: (K,) factor on the loss where the label applies.
    """
    return functional.binary_cross_entropy_with_logits(
        logits, target.clamp(min=0).float(), pos_weight=pos_weight, reduction="none"
    )


def sigmoid_focal(
    logits: Tensor, target: Tensor, *, gamma: float, alpha: float | None = None
) -> Tensor:
    """Focal loss of sigmoids: (N, K) logits and flags to (N, K).

    Lin et al., ICCV 2017, equation 5: -alpha_t (1 - p_t)^gamma log p_t, where alpha_t is
    ``alpha`` if the label applies and 1 - ``alpha`` if not; without ``alpha`` equation 4.
    """
    applies = target > 0
    sign = applies.float() * 2 - 1
    wrong = torch.sigmoid(-logits * sign)  # 1 - p_t, exact also where p_t rounds to 1
    each = -(wrong.clamp(min=_LEAST) ** gamma) * functional.logsigmoid(logits * sign)
    return each if alpha is None else each * torch.where(applies, alpha, 1 - alpha)


def asymmetric(
    logits: Tensor, target: Tensor, *, gamma_neg: float, gamma_pos: float, clip: float
) -> Tensor:
    """Asymmetric loss of sigmoids: (N, K) logits and flags to (N, K).

    Ridnik et al., "Asymmetric Loss for Multi-Label Classification", ICCV 2021, section 2: where a
    label applies -(1 - p)^gamma_pos log p; where not -q^gamma_neg log(1 - q) with the shifted
    probability q = max(p - clip, 0), so that easy negatives count for nothing.
    """
    p = torch.sigmoid(logits)
    positive = (1 - p).clamp(min=_LEAST) ** gamma_pos * -functional.logsigmoid(logits)
    q = (p - clip).clamp(min=0)
    # log(1 - p) needs logsigmoid to stay finite; shifted, 1 - q is at least ``clip``.
    log_not = torch.log1p(-q) if clip else functional.logsigmoid(-logits)
    negative = q.clamp(min=_LEAST) ** gamma_neg * -log_not
    return torch.where(target > 0, positive, negative)
