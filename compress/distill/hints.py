"""Hints: a student's features follow those of its teacher.

- *Pooled*: what the heads look at (Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015,
  equation 3), through a learnt linear layer where the widths differ.
- *Stages*: where feature maps have their energy (Zagoruyko & Komodakis, "Paying More Attention to
  Attention", ICLR 2017, equation 2, with the sum of squares over channels). Networks of any width
  can be compared so, and nothing has to be learnt for it.

FitNets compares features as they are. Here both are first brought to unit length, as in the other
paper, so that a weight means the same whatever a network's features are multiplied with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from runtime.errors import ConfigError
from runtime.preprocess import InputSpec
from train.network import Network
from train.pooling import Attention

from .teachers import Teacher

__all__ = ["POOL", "PooledHint", "StageHint", "outputs_of", "stage_names"]

POOL: Final = "heads.pool"
"""The layer of every ``Network`` whose output the heads look at."""


@contextmanager
def outputs_of(network: nn.Module, names: Sequence[str]) -> Iterator[Mapping[str, Tensor]]:
    """Yield a mapping that, once the network ran, holds the outputs of the layers ``names``.

    Raises:
        ConfigError: the network has no such layers, or did not run them: one that was traced for
            training in INT8 has only operations.
    """
    found: dict[str, Tensor] = {}
    known = dict(network.named_modules())

    def keep(name: str, _: nn.Module, __: object, output: Tensor) -> None:
        found[name] = output

    hooks = [
        known[name].register_forward_hook(partial(keep, name)) for name in names if name in known
    ]
    try:
        yield found
        absent = [name for name in names if name not in found]
        if absent:
            raise ConfigError(
                f"features cannot be followed: the network ran no layers {absent[:4]}; leave "
                "--distill.features and --distill.stages out"
            )
    finally:
        for hook in hooks:
            hook.remove()


class PooledHint(nn.Module):
    """How far what a student's heads look at is from what its teacher's do.

    Args:
        student: Whose features are to follow.
        teacher: Whose features they follow.

    Raises:
        ConfigError: the two pool in different ways, so that no vector has a counterpart.
    """

    def __init__(self, student: Network, teacher: Teacher) -> None:
        super().__init__()
        pools = student.heads.pool, teacher.network.heads.pool
        kinds = [(type(pool).__name__.lower(), pool.per_channel) for pool in pools]
        if kinds[0] != kinds[1]:
            own, other = (f"{name} of {count}" for name, count in kinds)
            raise ConfigError(
                f"pooled features cannot follow {teacher.checkpoint.folder}: the student's pool is "
                f"{own}, the teacher's {other} per channel; use the same pool and as many columns, "
                "or --distill.stages"
            )
        self._per_channel = pools[0].per_channel
        # Attention has one vector per head, and a teacher may have more heads.
        self._places = [*teacher.places] if isinstance(pools[0], Attention) else None
        own_width, width = (
            _inputs(network) // self._per_channel for network in (student, teacher.network)
        )
        same = own_width == width
        self.project: nn.Module = nn.Identity() if same else nn.Linear(own_width, width)

    def forward(self, own: Tensor, wanted: Tensor) -> Tensor:
        """Return half the mean squared distance at unit length, a scalar in [0, 2].

        Args:
            own: What the student's pool put out.
            wanted: What the teacher's did.
        """
        target = self._vectors(wanted)
        if self._places is not None:
            target = target[:, self._places]
        return _apart(self.project(self._vectors(own)), target)

    def _vectors(self, pooled: Tensor) -> Tensor:
        """Return one vector of channels per place: (N, P, C)."""
        if pooled.ndim == 3:
            return pooled.float()
        return pooled.float().reshape(len(pooled), -1, self._per_channel).transpose(1, 2)


def _inputs(network: Network) -> int:
    # Not the pool's own count, which is that of the network before slimming.
    return next(iter(network.heads.layers().values())).in_features


class StageHint(nn.Module):
    """How far a student's maps of energy are from its teacher's, stage by stage.

    Stages are paired from the last one back.

    Args:
        student: Layer names of the student's stages, first to last.
        teacher: The same of the teacher.

    Raises:
        ConfigError: one of them has no stage to compare.
    """

    def __init__(self, student: Sequence[str], teacher: Sequence[str]) -> None:
        super().__init__()
        count = min(len(student), len(teacher))
        if not count:
            raise ConfigError(
                "--distill.stages needs feature maps of more than one place in both networks; "
                "leave it out"
            )
        self.student, self.teacher = student[-count:], teacher[-count:]

    def forward(self, own: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
        """Return half the mean squared distance of the maps, a scalar in [0, 1].

        Args:
            own: Layer name to (N, C, h, w) of the student.
            wanted: The same of the teacher.
        """
        pairs = zip(self.student, self.teacher, strict=True)
        return torch.stack([_maps_apart(own[name], wanted[other]) for name, other in pairs]).mean()


def _maps_apart(own: Tensor, wanted: Tensor) -> Tensor:
    maps = [features.float().square().mean(1, keepdim=True) for features in (own, wanted)]
    # Of other input sizes: both as coarse as the coarser one.
    (height, width), (other_height, other_width) = (m.shape[2:] for m in maps)
    size = (min(height, other_height), min(width, other_width))
    return _apart(*(functional.adaptive_avg_pool2d(m, size).flatten(1) for m in maps))


def _apart(own: Tensor, wanted: Tensor) -> Tensor:
    """Half the mean squared distance of (..., C) vectors at unit length: 1 - cosine."""
    return 1 - functional.cosine_similarity(own, wanted, dim=-1).mean()


def stage_names(network: Network, spec: InputSpec) -> list[str]:
    """Return the layers that end a stage: the last one that puts out a map of each size.

    Works for any backbone, as the sizes are looked up in a run on a blank crop. Maps smaller than
    the last one belong to gates; a map of one place says nothing.
    """
    sizes: dict[str, tuple[int, int]] = {}

    def note(name: str, _: nn.Module, __: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            sizes[name] = (output.shape[2], output.shape[3])

    layers = network.backbone.named_modules(prefix="backbone")
    hooks = [layer.register_forward_hook(partial(note, name)) for name, layer in layers]
    training = network.training
    try:
        with torch.no_grad():
            device = next(network.parameters()).device
            network.eval().features(torch.zeros((1, *spec.shape), dtype=torch.uint8, device=device))
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    height, width = sizes.get("backbone", (1, 1))
    last = {(h * w, h): name for name, (h, w) in sizes.items() if h * w >= max(2, height * width)}
    return [last[size] for size in sorted(last, reverse=True)]
