"""Which channels belong together, and their physical removal: the only user of torch-pruning.

A residual addition ties the outputs of several convolutions: channel c can leave only all of them
at once. torch-pruning finds such groups by tracing the network once (Fang et al., "DepGraph:
Towards Any Structural Pruning", CVPR 2023). How many channels go is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.command import missing_extra
from runtime.errors import ConfigError, MissingExtraError
from runtime.preprocess import InputSpec
from train.network import ChannelPlan, Channels, Network

__all__ = ["ChannelGroup", "find_groups", "remove_channels", "shrunk_plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelGroup:
    """Channels that live and die together across layers: channel c of one is channel c of all."""

    name: str
    """Its first convolution."""
    width: int
    """Number of channels."""
    outputs: Sequence[str]
    """Convolutions that put these channels out."""
    scales: Sequence[str]
    """BatchNorms over these channels."""
    depthwise: Sequence[str]
    """Depthwise convolutions over these channels."""
    inputs: Mapping[str, int]
    """Layer that reads these channels to the inputs it has per channel: more than one where
    columns of a feature map were flattened."""


def find_groups(network: Network, spec: InputSpec) -> list[ChannelGroup]:
    """Return all groups that slimming may shrink, in the network's order.

    The heads keep their outputs: those are the labels. A group without a BatchNorm has no scale
    to judge it by and is left alone.

    Raises:
        MissingExtraError: torch-pruning is not installed.
        ConfigError: the network has grouped convolutions, or channels tied in another order.
    """
    body = _Body(network, spec)
    names = {layer: name for name, layer in network.named_modules()}
    groups = [_describe(graph, found, body, names) for graph, found in _traced(body, spec)]
    place = {name: index for index, name in enumerate(names.values())}
    return sorted((g for g in groups if g.scales), key=lambda group: place[group.name])


def remove_channels(
    network: Network, spec: InputSpec, removed: Mapping[str, Sequence[int]]
) -> None:
    """Cut channels out of ``network``, in place.

    Args:
        network: On the CPU.
        spec: Its input.
        removed: Group name to the channels to cut, in ascending order; not all of a group.

    Raises:
        ConfigError: a group would lose all its channels.
    """
    body = _Body(network, spec)
    names = {layer: name for name, layer in network.named_modules()}
    for graph, found in _traced(body, spec):
        channels = list(removed.get(_describe(graph, found, body, names).name, ()))
        if not channels:
            continue
        root = found[0].dep
        group = graph.get_pruning_group(root.target.module, root.handler, channels)
        if not graph.check_pruning_group(group):
            raise ConfigError(f"{names[root.target.module]} would lose all its channels")
        width = body.probe.in_features
        group.prune()
        if any(item.dep.target.module is body.probe for item in found):
            _narrow_heads(network, [c for c in range(width) if c not in set(channels)])


def _narrow_heads(network: Network, kept: Sequence[int]) -> None:
    """Leave the heads only the inputs from the ``kept`` channels of the feature map."""
    for name, each in network.heads.readers().items():
        layer = network.heads.get_submodule(name)
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            raise ConfigError(f"heads.{name} is a {type(layer).__name__}, which cannot be narrowed")
        inputs = torch.tensor([channel * each + i for channel in kept for i in range(each)])
        layer.weight = nn.Parameter(layer.weight.detach().index_select(1, inputs))
        if isinstance(layer, nn.Linear):
            layer.in_features = len(inputs)
        else:
            layer.in_channels = len(inputs)


def shrunk_plan(
    plan: ChannelPlan, groups: Iterable[ChannelGroup], kept: Mapping[str, int]
) -> dict[str, Channels]:
    """Return ``plan`` with every group shrunk to the width in ``kept``, by group name."""
    shrunk = dict(plan)
    for group in groups:
        gone = group.width - kept[group.name]
        for name in group.outputs:
            shrunk[name] = shrunk[name]._replace(outputs=shrunk[name].outputs - gone)
        for name in group.scales:
            shrunk[name] = Channels(shrunk[name].inputs - gone, shrunk[name].outputs - gone)
        for name in group.depthwise:
            shrunk[name] = Channels(*(count - gone for count in shrunk[name]))
        for name, each in group.inputs.items():
            shrunk[name] = shrunk[name]._replace(inputs=shrunk[name].inputs - gone * each)
    return shrunk


class _Body(nn.Module):
    """A network with one linear layer in place of its heads.

    Heads may read the feature map in ways that cannot be traced; which of their inputs belong to
    a channel is known (``Heads.readers``), and the layer stands for all of them.
    """

    def __init__(self, network: Network, spec: InputSpec) -> None:
        super().__init__()
        self.backbone = network.backbone
        # Bound methods and not the network: its heads must not be seen.
        self.features, self.readers = network.features, network.heads.readers
        training = network.training
        with torch.no_grad():
            shape = network.eval().features(_blank(spec)).shape
        network.train(training)
        self.probe = nn.Linear(shape[1], 1)

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)
        return self.probe(features.mean((2, 3)) if features.ndim == 4 else features)  # type: ignore[no-any-return]


def _blank(spec: InputSpec) -> Tensor:
    return torch.zeros((1, *spec.shape), dtype=torch.uint8)


def _traced(body: _Body, spec: InputSpec) -> Iterator[tuple[Any, Any]]:
    """Yield the graph with each of its groups, all found before the first is yielded."""
    try:
        import torch_pruning
    except ImportError as error:
        raise MissingExtraError(missing_extra("torch-pruning", "compress")) from error
    training = body.backbone.training
    with torch.enable_grad():  # the graph is read from autograd's
        graph = torch_pruning.DependencyGraph().build_dependency(body.eval(), _blank(spec))
    body.train(training)
    groups = graph.get_all_groups(ignored_layers=[body.probe], root_module_types=[nn.Conv2d])
    for group in list(groups):
        yield graph, group


def _describe(graph: Any, found: Any, body: _Body, names: Mapping[nn.Module, str]) -> ChannelGroup:
    width = len(found[0].idxs)
    outputs, scales, depthwise = set[str](), set[str](), set[str]()
    inputs: dict[str, int] = {}
    for item in found:
        layer = item.dep.target.module
        if layer is body.probe:
            inputs |= {f"heads.{name}": each for name, each in body.readers().items()}
            continue
        if layer not in names:  # an operation without weights
            continue
        name = names[layer]
        if not graph.is_out_channel_pruning_fn(item.dep.handler):
            inputs[name] = len(item.idxs) // width
            continue
        if sorted(item.idxs) != list(range(width)) or list(item.idxs) != list(item.root_idxs):
            raise ConfigError(f"{name}: its channels are tied to others in a way not supported")
        if isinstance(layer, nn.BatchNorm2d):
            scales.add(name)
        elif isinstance(layer, nn.Conv2d) and 1 < layer.groups == layer.in_channels:
            depthwise.add(name)
        elif isinstance(layer, nn.Conv2d) and layer.groups > 1:
            raise ConfigError(f"{name}: convolutions with {layer.groups} groups are not supported")
        else:
            outputs.add(name)
    order = list(names.values())
    return ChannelGroup(
        name=min(outputs, key=order.index),
        width=width,
        outputs=sorted(outputs, key=order.index),
        scales=sorted(scales, key=order.index),
        depthwise=sorted(depthwise, key=order.index),
        inputs={name: inputs[name] for name in sorted(inputs, key=order.index)},
    )
