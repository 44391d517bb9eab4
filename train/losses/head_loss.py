"""The loss of one head: elements, what they count, and their gradient norms."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.labelled import Targets
from runtime.errors import ConfigError
from runtime.schema import Head, HeadKind

from .balance import class_weights, positive_weights
from .config import LOSSES, LossConfig
from .elements import (
    asymmetric,
    binary_cross_entropy,
    cross_entropy,
    sigmoid_focal,
    smoothed,
    softmax_focal,
)

__all__ = ["HeadLoss"]


class HeadLoss(nn.Module):
    """The loss of one head as ``LossConfig`` says, element by element.

    Args:
        head: Its kind, size and labels.
        config: What it minimises.
        targets: Labels of one epoch, where weights are to be computed from data.

    Raises:
        ConfigError: a loss that does not fit the head, or weights from data without any.

    Attributes:
        kind: Name of the loss.
    """

    factors: Tensor | None
    """(K,) weight of each class or label; None: all 1."""
    positives: Tensor | None
    """(K,) factor where a label applies; None: all 1."""

    def __init__(self, head: Head, config: LossConfig, targets: Targets | None) -> None:
        super().__init__()
        self._choice = head.kind is HeadKind.CHOICE
        self.kind = config.kind_of(head)
        if self.kind not in LOSSES[head.kind]:
            raise ConfigError(
                f"loss {self.kind!r} does not fit head {head.name!r}; {head.kind} heads take one "
                f"of {LOSSES[head.kind]}"
            )
        self._config = config
        factors, positives = _weights(head, config, targets)
        # Computed from config and data again on every start, so the state need not hold them.
        self.register_buffer("factors", factors, persistent=False)
        self.register_buffer("positives", positives, persistent=False)

    def known(self, target: Tensor, share: Tensor) -> Tensor:
        """Return how much each label counts: (N, 1) of a choice head, (N, K) of a labels head.

        Args:
            target: (N,) or (N, K), -1 where missing.
            share: (N,) what every sample counts.
        """
        return (target >= 0).view(len(target), -1) * share.unsqueeze(1)

    def elements(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the weighted loss of every element, (N, 1) or (N, K), not yet masked."""
        if not self._choice:
            each = self._label_elements(logits, target)
            return each if self.factors is None else each * self.factors
        if self.kind == "focal":
            gamma, smoothing = self._config.focal.gamma, self._config.smoothing
            each = softmax_focal(logits, target, gamma=gamma, smoothing=smoothing)
        elif self.kind == "ghm" and self._config.ghm.elements == "every":
            each = -self._wanted(logits, target) * functional.log_softmax(logits, 1)
        else:
            each = cross_entropy(logits, target, self._config.smoothing)
        return each if self.factors is None else each * self.factors[target.clamp(min=0)][:, None]

    def _label_elements(self, logits: Tensor, target: Tensor) -> Tensor:
        if self.kind == "focal":
            focal = self._config.focal
            return sigmoid_focal(logits, target, gamma=focal.gamma, alpha=focal.alpha)
        if self.kind == "asymmetric":
            own = self._config.asymmetric
            return asymmetric(
                logits, target, gamma_neg=own.gamma_neg, gamma_pos=own.gamma_pos, clip=own.clip
            )
        return binary_cross_entropy(logits, target, self.positives if self.kind == "bce" else None)

    @torch.no_grad()
    def norms(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return |p - y| of every element of a GHM head, shaped like ``elements``."""
        if not self._choice:
            return (torch.sigmoid(logits) - target.clamp(min=0)).abs()
        norms = (functional.softmax(logits, 1) - self._wanted(logits, target)).abs()
        if self._config.ghm.elements == "every":
            return norms
        return norms.gather(1, target.clamp(min=0)[:, None])

    def _wanted(self, logits: Tensor, target: Tensor) -> Tensor:
        return smoothed(target, logits.shape[1], self._config.smoothing)


def _weights(head: Head, config: LossConfig, targets: Targets | None) -> tuple[Any, Any]:
    """Return what ``factors`` and ``positives`` are to be."""
    if head.kind is HeadKind.CHOICE:
        if config.class_weights == "none":
            return None, None
        classes = _required(targets, head).choices[head.name]
        return torch.from_numpy(class_weights(classes, head.size, config.max_weight)), None
    positives = torch.ones(head.size)
    if config.pos_weight == "data":
        found = _required(targets, head).labels[head.name]
        positives = torch.from_numpy(positive_weights(found, config.max_weight))
    elif not isinstance(config.pos_weight, str):
        positives *= config.pos_weight
    factors = torch.ones(head.size)
    for place, label in enumerate(head.labels):
        name = f"{head.name}.{label}"
        factors[place] = config.label_weights.get(name, 1.0)
        positives[place] = config.pos_weights.get(name, positives[place].item())
    return tuple(None if (value == 1).all() else value for value in (factors, positives))  # type: ignore[return-value]


def _required(targets: Targets | None, head: Head) -> Targets:
    if targets is None:
        raise ConfigError(f"weights of head {head.name!r} are to come from data, but none is there")
    return targets
