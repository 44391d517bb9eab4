"""Distillation: a student follows the softened answers of its teachers, and their features.

Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2: with the
logits of both divided by a temperature T, the student minimises T^2 times its cross-entropy with
the teacher's probabilities, beside its own loss on the labels. T^2 keeps the size of the gradients
when T changes. Here the entropy of the teacher, a constant, is taken off (the Kullback-Leibler
divergence), so that a loss of 0 means that nothing is left to learn. Per head:

    alpha * T^2 * KL(teachers || student) + (1 - alpha) * own loss

The first part is a mean over all rows, labelled or not; the own loss, with its masks and weights,
one over the labels that are known. A label of a labels head is a choice between yes and no.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor, nn
from torch.nn import functional

from runtime.errors import ConfigError
from runtime.preprocess import InputSpec
from runtime.schema import HeadKind, Schema
from train.assignments import NamedNumbers
from train.guidance import Guidance
from train.lineage import plain
from train.losses import LossConfig
from train.network import Network
from train.step import training_device

from .hints import POOL, PooledHint, StageHint, outputs_of, stage_names
from .teachers import Teacher, load_teachers, teacher_digests

__all__ = ["Distillation", "DistillationConfig", "open_distillation", "soft_loss"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillationConfig:
    """What a student takes from its teachers, and how much it counts.

    Raises:
        ConfigError: a temperature that is not positive, a weight outside [0, 1], or a negative
            weight of features or stages.
    """

    temperature: Annotated[float, tyro.conf.arg(aliases=("--temperature",))] = 2.0
    """What all logits are divided by, > 0; higher ones show more of how labels resemble each
    other."""
    weight: Annotated[float, tyro.conf.arg(aliases=("--alpha",))] = 0.5
    """Alpha: share of the teachers in a head's loss, in [0, 1]; the labels have the rest."""
    temperatures: NamedNumbers = field(default_factory=dict)
    """Temperatures of single heads, for example ``colour=4``."""
    weights: NamedNumbers = field(default_factory=dict)
    """Weights of single heads, for example ``colour=0.9``."""
    features: float = 0.0
    """Weight of the distance between what the heads look at (Romero et al., 2015); 0 is off."""
    stages: float = 0.0
    """Weight of the distance between the maps of energy after every stage (Zagoruyko & Komodakis,
    2017); 0 is off."""

    def __post_init__(self) -> None:
        temperatures = (self.temperature, *self.temperatures.values())
        weights = (self.weight, *self.weights.values())
        if not all(0 < temperature < inf for temperature in temperatures):
            raise ConfigError(f"distill: temperatures must be > 0, got {temperatures}")
        if not all(0 <= weight <= 1 for weight in weights):
            raise ConfigError(f"distill: weights must be in [0, 1], got {weights}")
        if not (0 <= self.features < inf and 0 <= self.stages < inf):
            raise ConfigError(
                "distill: features and stages must be >= 0 and finite, got "
                f"{self.features} and {self.stages}"
            )

    def check_heads(self, schema: Schema) -> None:
        """Fail unless every head that is named exists.

        Raises:
            ConfigError: one does not.
        """
        known = [head.name for head in schema.heads]
        unknown = sorted({*self.temperatures, *self.weights} - {*known})
        if unknown:
            raise ConfigError(f"distill: no heads {unknown}; the schema has {known}")


def soft_loss(
    kind: HeadKind, student: Tensor, teachers: Sequence[Tensor], temperature: float
) -> Tensor:
    """Return T^2 KL(mean of the teachers' probabilities || student's), a scalar.

    Args:
        kind: Of the head. The divergence is summed over the labels of a choice head; of a labels
            head it is the mean over its labels, each yes or no, as its own loss is.
        student: (N, K) logits, of any float type.
        teachers: (N, K) logits each; at least one.
        temperature: T.
    """
    wanted = torch.stack(
        [functional.softmax(_options(kind, logits) / temperature, -1) for logits in teachers]
    ).mean(0)
    found = functional.log_softmax(_options(kind, student) / temperature, -1)
    divergence = functional.kl_div(found, wanted, reduction="none").sum(-1)
    return temperature**2 * divergence.mean()


def _options(kind: HeadKind, logits: Tensor) -> Tensor:
    """Return logits among which exactly one is chosen: (N, K), or (N, K, 2) of a labels head."""
    logits = logits.float()
    if kind is HeadKind.CHOICE:
        return logits
    # The softmax of (z, 0) is the sigmoid of z.
    return torch.stack([logits, torch.zeros_like(logits)], -1)


class Distillation(Guidance):
    """Teachers as a training's guidance.

    Args:
        teachers: At least one; they are neither trained nor kept in the run's state.
        student: The network to be trained; with features or stages its sizes are looked up.
        schema: What it answers.
        spec: Its input.
        config: What counts how much.
        loss: Holds the weights of heads.

    Raises:
        ConfigError: no teacher, the config names other heads, or features cannot be compared.

    Attributes:
        teachers: As given.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        student: Network,
        schema: Schema,
        spec: InputSpec,
        config: DistillationConfig,
        loss: LossConfig,
    ) -> None:
        super().__init__()
        if not teachers:
            raise ConfigError("name at least one checkpoint folder with --teacher")
        config.check_heads(schema)
        # A tuple is not registered: teachers are no part of what is trained.
        self.teachers = tuple(teacher.to(training_device()) for teacher in teachers)
        self._heads, self._config = schema.heads, config
        alphas = {h.name: config.weights.get(h.name, config.weight) for h in schema.heads}
        self._weights = {h.name: alphas[h.name] * loss.weight_of(h) for h in schema.heads}
        self.own_shares = {name: 1 - alpha for name, alpha in alphas.items()}
        self.identity = {"teachers": [*self.digests.values()], "config": plain(config)}
        self._pooled = nn.ModuleList()
        self._stages: list[StageHint] = []
        if config.features:
            self._pooled.extend(PooledHint(student, teacher) for teacher in teachers)
        if config.stages:
            own = stage_names(student, spec)
            self._stages = [
                StageHint(own, stage_names(teacher.network, teacher.checkpoint.input))
                for teacher in teachers
            ]

    @property
    def digests(self) -> dict[str, str]:
        """Digests of the teachers' weights for the lineage: ``teacher``, ``teacher2`` and on."""
        return teacher_digests(self.teachers)

    def forward(self, network: nn.Module, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Run student and teachers on (N, H, W, 3) uint8; see ``Guidance``."""
        pool = [POOL] if self._config.features else []
        stages = {name for hint in self._stages for name in hint.student}
        with outputs_of(network, [*pool, *stages]) as own:
            logits: dict[str, Tensor] = network(images)
        answers, features = [], []
        for number, teacher in enumerate(self.teachers):
            names = [*pool, *(self._stages[number].teacher if self._stages else ())]
            # Not inference mode: its tensors cannot take part in a backward pass.
            with torch.no_grad(), outputs_of(teacher.network, names) as seen:
                answers.append(teacher(images))
            features.append(seen)
        with torch.autocast(images.device.type, enabled=False):
            return logits, self._soft(logits, answers) + self._hinted(own, features)

    def _soft(
        self, logits: Mapping[str, Tensor], answers: Sequence[Mapping[str, Tensor]]
    ) -> Tensor:
        config = self._config
        losses = []
        for head in self._heads:
            temperature = config.temperatures.get(head.name, config.temperature)
            wanted = [answer[head.name] for answer in answers]
            loss = soft_loss(head.kind, logits[head.name], wanted, temperature)
            losses.append(self._weights[head.name] * loss)
        return torch.stack(losses).sum()

    def _hinted(
        self, own: Mapping[str, Tensor], features: Sequence[Mapping[str, Tensor]]
    ) -> Tensor | int:
        """Return the weighted distances of features, each a mean over the teachers."""
        parts = []
        if self._pooled:
            pairs = zip(self._pooled, features, strict=True)
            apart = torch.stack([hint(own[POOL], seen[POOL]) for hint, seen in pairs])
            parts.append(self._config.features * apart.mean())
        if self._stages:
            stages = zip(self._stages, features, strict=True)
            apart = torch.stack([hint(own, seen) for hint, seen in stages])
            parts.append(self._config.stages * apart.mean())
        return sum(parts)


def open_distillation(
    teachers: Sequence[Path],
    student: Network,
    *,
    schema: Schema,
    spec: InputSpec,
    config: DistillationConfig,
    loss: LossConfig,
) -> Distillation:
    """Return the guidance by checkpoints on disk.

    Args:
        teachers: Checkpoint folders.
        student: The network to be trained.
        schema: What it answers.
        spec: Its input.
        config: What counts how much.
        loss: Holds the weights of heads.

    Raises:
        ConfigError: no teacher, one that does not suit the student, or heads that do not exist.
        CheckpointError: a teacher cannot be read.
    """
    return Distillation(load_teachers(teachers, schema, spec), student, schema, spec, config, loss)
