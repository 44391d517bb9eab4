"""The loss that a training minimises: all heads together, missing labels masked.

Every head's loss is a weighted mean over the labels that are known in the *whole* batch of a step.
Numerators add up over parts of a batch and over processes, and the denominators are known from the
targets before any numerator: parts and processes together give what one would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor, nn

from benchmarks.labelled import Targets
from runtime.errors import ConfigError
from runtime.schema import HeadKind, Schema

from .config import LossConfig
from .harmony import GradientHistograms
from .head_loss import HeadLoss

__all__ = ["MultiHeadLoss", "Truth"]


_HEADS_HINT: Final = (
    "; where a recipe names others, --loop.loss.head-weights without any value takes them away"
)


@dataclass(frozen=True, slots=True)
class Truth:
    """Targets of N samples, and how much of a sample they describe."""

    targets: Mapping[str, Tensor]
    """Choice head to (N,) int64, labels head to (N, K); -1 where missing."""
    share: Tensor
    """(N,) in [0, 1]: below 1 where a picture is mixed from two."""

    def rows(self, start: int, stop: int) -> Truth:
        """Return the samples from ``start`` to before ``stop``."""
        parts = {name: target[start:stop] for name, target in self.targets.items()}
        return Truth(parts, self.share[start:stop])


class MultiHeadLoss(nn.Module):
    """The heads' losses as ``LossConfig`` says, summed with their weights.

    Args:
        schema: Heads in order.
        config: What each of them minimises.
        targets: Labels of one epoch, where weights are to be computed from data.
        add: Sums a tensor over all processes.
        shares: Factors on single heads' losses, by name; for what is minimised beside them.

    Raises:
        ConfigError: the config names heads or labels that the schema has not, a loss that does not
            fit its head, positive weights that nothing uses, or weights from data without any.
    """

    weights: Tensor

    def __init__(
        self,
        schema: Schema,
        config: LossConfig,
        targets: Targets | None = None,
        add: Callable[[Tensor], Tensor] = lambda tensor: tensor,
        shares: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        _check_names(schema, config)
        self._names, self._add = [head.name for head in schema.heads], add
        self._heads = [HeadLoss(head, config, targets) for head in schema.heads]
        self.heads = nn.ModuleList(self._heads)
        weights = [config.weight_of(head) * shares.get(head.name, 1.0) for head in schema.heads]
        self.register_buffer("weights", torch.tensor(weights), persistent=False)
        self._harmonised = [i for i, head in enumerate(self._heads) if head.kind == "ghm"]
        pooled = config.ghm.over == "all"
        self._rows = [0 if pooled else row for row in range(len(self._harmonised))]
        rows = len(set(self._rows))
        self.histograms = GradientHistograms(rows, config.ghm) if rows else None

    def counts(self, truths: Sequence[Truth]) -> Tensor:
        """Return how many labels of each head are known, over all processes: (H,)."""
        known = [self._known(truth) for truth in truths]
        return self._add(
            torch.stack([torch.stack([k.sum() for k in each]) for each in known]).sum(0)
        )

    def forward(
        self, logits: Mapping[str, Tensor], truths: Sequence[Truth], counts: Tensor
    ) -> Tensor:
        """Return these samples' part of the batch's loss, a scalar.

        Args:
            logits: Head name to (N, K), of any float type.
            truths: What the N samples show: one, or two where pictures were mixed.
            counts: What ``counts`` returned for the whole batch.
        """
        whole = _joined(truths)
        # (T * N, K): every truth has the same logits.
        scores = [logits[name].float().repeat(len(truths), 1) for name in self._names]
        targets = [whole.targets[name] for name in self._names]
        known = self._known(whole)
        parts = zip(self._heads, scores, targets, strict=True)
        losses = [head.elements(score, target) for head, score, target in parts]
        if self.histograms is not None:
            self._harmonise(self.histograms, losses, scores, targets, known)
        sums = torch.stack([(e * k).sum() for e, k in zip(losses, known, strict=True)])
        # A batch may hold no label of a head; its loss is then 0, not NaN.
        return (self.weights * sums / torch.where(counts > 0, counts, 1.0)).sum()

    def _known(self, truth: Truth) -> list[Tensor]:
        return [
            head.known(truth.targets[name], truth.share)
            for name, head in zip(self._names, self._heads, strict=True)
        ]

    def _harmonise(
        self,
        histograms: GradientHistograms,
        losses: list[Tensor],
        scores: Sequence[Tensor],
        targets: Sequence[Tensor],
        known: Sequence[Tensor],
    ) -> None:
        """Multiply the losses of GHM heads by their elements' weights, in the list."""
        norms = [self._heads[i].norms(scores[i], targets[i]) for i in self._harmonised]
        counted = [known[i].expand_as(n) for i, n in zip(self._harmonised, norms, strict=True)]
        weights = histograms.weigh(self._rows, norms, counted, self._add)
        for i, weight in zip(self._harmonised, weights, strict=True):
            losses[i] = losses[i] * weight


def _joined(truths: Sequence[Truth]) -> Truth:
    names = truths[0].targets
    return Truth(
        {name: torch.cat([truth.targets[name] for truth in truths]) for name in names},
        torch.cat([truth.share for truth in truths]),
    )


def _check_names(schema: Schema, config: LossConfig) -> None:
    heads = [head.name for head in schema.heads]
    labels = [
        f"{head.name}.{label}"
        for head in schema.heads
        if head.kind is HeadKind.LABELS
        for label in head.labels
    ]
    _check_known("heads", (*config.heads, *config.head_weights), heads, _HEADS_HINT)
    _check_known("labels of labels heads", (*config.pos_weights, *config.label_weights), labels)
    bce = [head.name for head in schema.heads if config.kind_of(head) == "bce"]
    ignored = [name for name in config.pos_weights if name.partition(".")[0] not in bce]
    if config.pos_weight != "none" and not bce:
        ignored.append("pos_weight")
    if ignored:
        raise ConfigError(
            f"loss: the positive weights {ignored} would do nothing, only bce uses them, and the "
            f"heads that minimise it are {bce}; leave them out"
        )


def _check_known(what: str, given: Iterable[str], known: Sequence[str], hint: str = "") -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ConfigError(f"loss: no {what} {unknown}; the schema has {list(known)}{hint}")
