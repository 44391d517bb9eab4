"""What a network costs in parameters and multiply-accumulates, also before it is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from runtime.preprocess import InputSpec

from .network import ChannelPlan, Channels, channel_plan

__all__ = ["CostModel", "count_macs", "count_parameters"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """What a layer's cost depends on beside its channels."""

    taps: int
    """Weights per pair of an input and an output channel; 0 for a normalisation."""
    vectors: int
    """Parameters per output channel: bias, or scale and shift."""
    positions: int
    """Outputs per channel for one image."""

    def weights(self, channels: Channels) -> int:
        return self.taps * channels.outputs * channels.inputs // channels.groups


@dataclass(frozen=True, slots=True)
class CostModel:
    """Costs of a network as a function of its channel plan.

    Exact: for the plan that a network has, ``parameters`` is the number of its parameters.
    """

    layers: Mapping[str, _Layer]
    other: int
    """Parameters outside convolutions, normalisations and linear layers."""

    @classmethod
    def of(cls, network: nn.Module, spec: InputSpec) -> CostModel:
        """Run ``network`` on one blank image and note what every layer did."""
        positions = _positions(network, spec)
        layers = {
            name: _describe(network.get_submodule(name), positions.get(name, 0))
            for name in channel_plan(network)
        }
        empty = cls(layers, 0)
        return cls(layers, count_parameters(network) - empty.parameters(channel_plan(network)))

    def parameters(self, plan: ChannelPlan) -> int:
        """Number of parameters with the channels of ``plan``."""
        own = sum(
            layer.weights(plan[name]) + layer.vectors * plan[name].outputs
            for name, layer in self.layers.items()
        )
        return own + self.other

    def macs(self, plan: ChannelPlan) -> int:
        """Multiply-accumulates of convolutions and linear layers for one image."""
        return sum(
            layer.weights(plan[name]) * layer.positions for name, layer in self.layers.items()
        )


def count_parameters(network: nn.Module) -> int:
    """Return the number of trainable values; running statistics are none."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_macs(network: nn.Module, spec: InputSpec) -> int:
    """Return the multiply-accumulates of convolutions and linear layers for one image.

    Normalisations, activations and pooling are left out, as in the tables of the literature.
    """
    return CostModel.of(network, spec).macs(channel_plan(network))


def _positions(network: nn.Module, spec: InputSpec) -> dict[str, int]:
    found: dict[str, int] = {}

    def note(name: str, output: Tensor, channels: int) -> None:
        # One image, so (1, C, H, W), (1, K) or (1, T, K); a layer used twice costs twice.
        found[name] = found.get(name, 0) + output.numel() // channels

    hooks = [
        layer.register_forward_hook(
            lambda _, __, output, name=name, channels=layer.weight.shape[0]: note(
                name, output, channels
            )
        )
        for name, layer in network.named_modules()
        if isinstance(layer, (nn.Conv2d, nn.Linear))
    ]
    training, device = network.training, next(network.parameters()).device
    try:
        with torch.inference_mode():
            network.eval()(torch.zeros((1, *spec.shape), dtype=torch.uint8, device=device))
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    return found


def _describe(layer: nn.Module, positions: int) -> _Layer:
    if isinstance(layer, nn.Conv2d):
        taps = layer.kernel_size[0] * layer.kernel_size[1]
        return _Layer(taps=taps, vectors=int(layer.bias is not None), positions=positions)
    if isinstance(layer, nn.Linear):
        return _Layer(taps=1, vectors=int(layer.bias is not None), positions=positions)
    return _Layer(taps=0, vectors=len(list(layer.parameters())), positions=positions)
