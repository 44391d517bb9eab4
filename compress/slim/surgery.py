"""Units of channels, their masking, and their physical removal.

A residual addition ties the outputs of several convolutions, a depthwise convolution its outputs to
its inputs: such channels can leave only all at once, and are one *unit*.

**Exact surgery.** Removing units is the same as silencing them: with the filters, biases, BatchNorm
scales and shifts of their channels at zero (``mask_channels``) a network gives the answers that it
gives without them (``remove_channels``), as every activation on the way maps 0 to 0 or is
multiplied by 0. ``surgery_error`` measures it. What the channels still did before, a constant
behind a scale of zero above all, is carried over with data: see ``recovery``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from runtime.errors import ConfigError
from train.network import ChannelPlan, Channels, Network

__all__ = [
    "TOLERANCE",
    "ChannelGroup",
    "Members",
    "Removed",
    "mask_channels",
    "remove_channels",
    "shrunk_plan",
    "surgery_error",
]

Members = npt.NDArray[np.int64]
"""(width, n): the n channels of each unit in one layer."""
Removed = Mapping[str, Sequence[int]]
"""Group name to the units that go, ascending."""
TOLERANCE: Final = 1e-4
"""Largest ``surgery_error`` of sums in float32 that were done in another order."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChannelGroup:
    """Units that lie in the same layers, so that any of them may go or stay."""

    name: str
    """Its first layer; with ``/1``, ``/2`` where several groups share that."""
    width: int
    """Number of units."""
    outputs: Mapping[str, Members]
    """Convolutions and linear layers that put these channels out, in the network's order."""
    norms: Mapping[str, Members]
    """BatchNorms over these channels."""
    scales: Sequence[str]
    """Those of them that have scales."""
    inputs: Mapping[str, Members]
    """Layers that read these channels; more than one input per channel where columns of a feature
    map were flattened."""
    grouped: Mapping[str, int]
    """Grouped convolutions of whose groups a unit takes whole ones, to how many."""

    @property
    def channels(self) -> int:
        """Channels of a unit in the group's first layer: 1 but behind grouped convolutions."""
        return int(next(iter(self.outputs.values())).shape[1])


def surgery_error(
    network: Network,
    smaller: Network,
    groups: Sequence[ChannelGroup],
    removed: Removed,
    images: Tensor,
) -> float:
    """Return how far ``smaller`` is from ``network`` with the same channels masked.

    Args:
        network: The whole one, as ``smaller`` in evaluation mode.
        smaller: Without the ``removed`` channels.
        groups: Of ``network``.
        removed: What was removed.
        images: (N, H, W, 3) uint8 to compare on.

    Returns:
        The largest difference of any logit, over the largest logit or 1. NaN where one is NaN.
    """
    with torch.inference_mode(), mask_channels(network, groups, removed):
        expected = torch.cat([*network(images).values()], 1)
    with torch.inference_mode():
        found = torch.cat([*smaller(images).values()], 1)
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1))


@contextmanager
def mask_channels(
    network: nn.Module, groups: Iterable[ChannelGroup], removed: Removed
) -> Iterator[None]:
    """Silence channels while the context lasts; then every weight is as it was.

    What puts a channel out is set to zero: its filters and biases, the scales and shifts of its
    BatchNorms.

    Args:
        network: On any device.
        groups: Of this network.
        removed: Which units to silence; groups that are not named keep all.
    """
    before: list[tuple[nn.Parameter, Tensor]] = []
    try:
        for group in groups:
            units = list(removed.get(group.name, ()))
            for name, members in (*group.outputs.items(), *group.norms.items()):
                channels = torch.from_numpy(members[units].flatten())
                layer = network.get_submodule(name)
                for values in layer.parameters(recurse=False):
                    before.append((values, values.detach().clone()))
                    with torch.no_grad():
                        values[channels.to(values.device)] = 0
        yield
    finally:
        with torch.no_grad():
            for values, old in reversed(before):
                values.copy_(old)


# ---- removal ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Cut:
    """What one layer loses."""

    outputs: list[int]
    inputs: list[int]
    groups: list[int]
    """How many groups, in parts."""


def remove_channels(network: nn.Module, groups: Iterable[ChannelGroup], removed: Removed) -> None:
    """Cut channels out of ``network``, in place.

    Args:
        network: On the CPU.
        groups: Of this network.
        removed: Which units to cut; groups that are not named keep all.

    Raises:
        ConfigError: a group would lose all its channels.
    """
    cuts: dict[str, _Cut] = defaultdict(lambda: _Cut([], [], []))
    for group in groups:
        units = list(removed.get(group.name, ()))
        if len(units) >= group.width:
            raise ConfigError(f"{group.name} would lose all its channels")
        for name, members in (*group.outputs.items(), *group.norms.items()):
            cuts[name].outputs.extend(members[units].flatten().tolist())
        for name, members in group.inputs.items():
            cuts[name].inputs.extend(members[units].flatten().tolist())
        for name, count in group.grouped.items():
            cuts[name].groups.append(count * len(units))
    for name, cut in cuts.items():
        _narrow(network.get_submodule(name), cut)


def _narrow(layer: nn.Module, cut: _Cut) -> None:
    """Take channels from one layer, in place."""
    if isinstance(layer, nn.BatchNorm2d):
        kept = _others(layer.num_features, cut.outputs)
        layer.num_features = len(kept)
        for name in ("running_mean", "running_var"):
            setattr(layer, name, getattr(layer, name)[kept])
    elif isinstance(layer, nn.Conv2d):
        kept = _others(layer.out_channels, cut.outputs)
        each = layer.in_channels // layer.groups
        layer.groups -= sum(cut.groups)
        layer.in_channels -= len(cut.inputs)
        layer.out_channels = len(kept)
        if not cut.groups:
            # Every group loses the inputs of the same places.
            columns = _others(each, sorted({channel % each for channel in cut.inputs}))
            layer.weight = nn.Parameter(layer.weight.detach()[:, columns])
    elif isinstance(layer, nn.Linear):
        kept = _others(layer.out_features, cut.outputs)
        columns = _others(layer.in_features, cut.inputs)
        layer.in_features, layer.out_features = len(columns), len(kept)
        layer.weight = nn.Parameter(layer.weight.detach()[:, columns])
    else:
        raise ConfigError(f"a {type(layer).__name__} cannot lose channels")
    for name, values in layer.named_parameters(recurse=False):
        setattr(layer, name, nn.Parameter(values.detach()[kept]))


def _others(count: int, gone: Sequence[int]) -> Tensor:
    kept = torch.ones(count, dtype=torch.bool)
    kept[list(gone)] = False
    return kept.nonzero().flatten()


def shrunk_plan(
    plan: ChannelPlan, groups: Iterable[ChannelGroup], kept: Mapping[str, int]
) -> dict[str, Channels]:
    """Return ``plan`` with every group shrunk to the units in ``kept``, by group name."""
    shrunk = dict(plan)

    def lose(name: str, *, inputs: int = 0, outputs: int = 0, groups: int = 0) -> None:
        now = shrunk[name]
        shrunk[name] = Channels(now.inputs - inputs, now.outputs - outputs, now.groups - groups)

    for group in groups:
        gone = group.width - kept[group.name]
        for name, members in group.outputs.items():
            lose(name, outputs=gone * members.shape[1])
        for name, members in group.norms.items():
            lose(name, inputs=gone * members.shape[1], outputs=gone * members.shape[1])
        for name, members in group.inputs.items():
            lose(name, inputs=gone * members.shape[1])
        for name, count in group.grouped.items():
            lose(name, groups=gone * count)
    return shrunk
