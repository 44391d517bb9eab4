"""Which channels belong together: units that lie in the same layers form a group.

How many units go is decided elsewhere. ``find_groups`` tries a cut and leaves a group whole where
that is not exact (``surgery``), so a network of somebody else is never cut wrongly.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.command import say
from runtime.errors import ConfigError
from runtime.preprocess import InputSpec
from train.network import Network

from .surgery import (
    TOLERANCE,
    ChannelGroup,
    Members,
    Removed,
    remove_channels,
    surgery_error,
)
from .tracing import Trace, trace_channels

__all__ = ["find_groups"]


def find_groups(network: Network, spec: InputSpec) -> list[ChannelGroup]:
    """Return all groups that slimming may shrink, in the network's order.

    The heads keep their outputs: those are the labels. A group without a BatchNorm has no scale
    to judge it by and is left alone, as is what cannot be followed or cut exactly.

    Raises:
        ConfigError: nothing is left that could be slimmed.
    """
    training = network.training
    network.eval()
    trace = trace_channels(network, network.features, torch.zeros((1, *spec.shape)).byte())
    found = [group for group in _grouped(network, trace) if group.width > 1 and group.scales]
    groups, refused = _exact(network, spec, found)
    network.train(training)
    whole = {**_stuck(trace), **refused}
    if whole:
        named = "; ".join(f"{name}: {reason}" for name, reason in [*whole.items()][:3])
        say(f"channels that stay in any case, {len(whole)} layers: {named}")
    if not groups:
        raise ConfigError(
            "no channels of this network can be removed; slimming needs nn.Conv2d followed by "
            "nn.BatchNorm2d (subclasses stay whole)"
        )
    return groups


# ---- from labels to groups --------------------------------------------------------------------

_Places = dict[tuple[str, str], list[int]]
"""Role and layer to channels: where one unit lies."""


def _grouped(network: Network, trace: Trace) -> list[ChannelGroup]:
    """Gather units by what they lie in: equal layers, equally many channels."""
    order = {name: place for place, (name, _) in enumerate(network.named_modules())}
    kinds: dict[tuple[tuple[str, str, int], ...], list[_Places]] = defaultdict(list)
    for places in _units(network, trace, order):
        signature = tuple((*key, len(channels)) for key, channels in places.items())
        kinds[signature].append(places)
    # A unit's first place is in the first layer that puts it out.
    found = sorted(kinds.values(), key=lambda units: order[next(iter(units[0]))[1]])
    first = [next(iter(units[0]))[1] for units in found]
    return [
        _group(
            name if first.count(name) == 1 else f"{name}/{first[:index].count(name) + 1}",
            units,
            network,
            trace,
        )
        for index, (name, units) in enumerate(zip(first, found, strict=True))
    ]


def _units(network: Network, trace: Trace, order: Mapping[str, int]) -> Iterable[_Places]:
    heads = {
        f"heads.{name}": np.repeat(trace.features, each)
        for name, each in network.heads.readers().items()
    }
    seen = {"outputs": trace.outputs, "norms": trace.norms, "inputs": {**trace.inputs, **heads}}
    units: dict[int, _Places] = {}
    for role, layers in seen.items():
        for name in sorted(layers, key=order.__getitem__):
            for channel, label in enumerate(layers[name].tolist()):
                if label >= 0 and label not in trace.pinned:
                    places = units.setdefault(label, {})
                    places.setdefault((role, name), []).append(channel)
    return units.values()


def _group(name: str, units: Sequence[_Places], network: Network, trace: Trace) -> ChannelGroup:
    members: dict[str, dict[str, Members]] = {"outputs": {}, "norms": {}, "inputs": {}}
    for role, layer in units[0]:
        members[role][layer] = np.array([places[role, layer] for places in units], np.int64)
    return ChannelGroup(
        name=name,
        width=len(units),
        **members,
        scales=[
            layer
            for layer in members["norms"]
            if isinstance(network.get_submodule(layer).weight, nn.Parameter)
        ],
        grouped={
            layer: channels.shape[1] // trace.whole_groups[layer]
            for layer, channels in members["inputs"].items()
            if layer in trace.whole_groups
        },
    )


def _stuck(trace: Trace) -> dict[str, str]:
    """Return the BatchNorms with channels that have to stay, to the reason."""
    return {
        name: trace.pinned[stuck[0]]
        for name, labels in trace.norms.items()
        if (stuck := [label for label in labels.tolist() if label in trace.pinned])
    }


# ---- the proof --------------------------------------------------------------------------------


def _exact(
    network: Network, spec: InputSpec, groups: Sequence[ChannelGroup]
) -> tuple[list[ChannelGroup], dict[str, str]]:
    """Return the groups that can be cut exactly, and the names of the others with the reason."""
    random = np.random.default_rng(0)
    images = torch.from_numpy(random.integers(0, 256, (2, *spec.shape), np.uint8))
    # One unit shows what asks for round numbers, half of them what asks for equal ones.
    trials = [
        {
            group.name: np.sort(random.choice(group.width, max(1, share), replace=False)).tolist()
            for group in groups
            for share in [group.width // 2 if half else 1]
        }
        for half in (False, True)
    ]

    def holds(chosen: Sequence[ChannelGroup]) -> bool:
        return all(_cuts_exactly(network, chosen, trial, images) for trial in trials)

    if holds(groups):
        return [*groups], {}
    kept = [group for group in groups if holds([group])]
    if not holds(kept):
        raise ConfigError(
            "the channels of this network depend on each other in a way that slimming cannot "
            f"follow, in the layers {[group.name for group in kept]}"
        )
    refused = {group.name for group in groups} - {group.name for group in kept}
    return kept, dict.fromkeys(
        sorted(refused), "the network without its channels answers otherwise"
    )


def _cuts_exactly(
    network: Network, groups: Sequence[ChannelGroup], removed: Removed, images: Tensor
) -> bool:
    smaller = copy.deepcopy(network)
    remove_channels(smaller, groups, removed)
    try:
        return surgery_error(network, smaller, groups, removed, images) <= TOLERANCE
    except (RuntimeError, ValueError, IndexError):
        return False  # its code counts on the number of channels that it had
