"""Reading the BatchNorm scales of groups of tied channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from .surgery import ChannelGroup

__all__ = ["channel_scores", "group_scales", "mean_scales", "multiply_scales"]


def _scale_of(network: nn.Module, name: str) -> Tensor:
    """Return the scales of the BatchNorm called ``name``, the parameter itself."""
    scale = network.get_submodule(name).weight
    assert isinstance(scale, Tensor)  # a group's norms are BatchNorms with scales
    return scale


def group_scales(network: nn.Module, group: ChannelGroup) -> Tensor:
    """Return all scales of a group's units as a fresh tensor (S, width).

    A unit has a scale in each of the BatchNorms that its group ties, several behind grouped
    convolutions.
    """
    return torch.cat([_scales_in(network, group, name).T for name in group.scales])


def multiply_scales(network: nn.Module, group: ChannelGroup, factors: Tensor) -> None:
    """Multiply the scales of every unit by its own of the ``factors`` (width,), in place."""
    with torch.no_grad():
        for name in group.scales:
            channels = torch.from_numpy(group.norms[name])
            _scale_of(network, name)[channels] = _scales_in(network, group, name) * factors[:, None]


def _scales_in(network: nn.Module, group: ChannelGroup, name: str) -> Tensor:
    """Return the scales of a group's units in one BatchNorm, (width, n)."""
    return _scale_of(network, name).detach()[torch.from_numpy(group.norms[name])]


def mean_scales(network: nn.Module, groups: Sequence[ChannelGroup]) -> dict[str, float]:
    """Return group name to its mean |gamma|."""
    means = {group.name: float(group_scales(network, group).abs().mean()) for group in groups}
    # A group that is zero throughout has no scale to compare with; any number will do.
    return {name: mean or 1.0 for name, mean in means.items()}


def channel_scores(
    network: nn.Module, groups: Sequence[ChannelGroup], units: Mapping[str, float]
) -> dict[str, npt.NDArray[np.float64]]:
    """Score every unit of tied channels by |gamma|, averaged over all scales that it has.

    Args:
        network: On any device.
        groups: What may be pruned.
        units: Group name to what its scores are divided by; 1 where not given. Raw scales, as in
            the paper, gut the late layers of a residual network, whose scales are smaller.

    Returns:
        Group name to (width,).
    """
    return {
        group.name: group_scales(network, group).abs().mean(0).double().cpu().numpy()
        / units.get(group.name, 1.0)
        for group in groups
    }
