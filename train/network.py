"""A network: preprocessing inside, a backbone, pooled features, one head per schema head."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn

from runtime.errors import CheckpointError, ConfigError
from runtime.preprocess import InputSpec
from runtime.schema import Schema
from runtime.strict import StrictObject

from .backbones.resnet18 import ResNet18, ResNet18Config
from .heads import POOLS, Heads, pool_features

__all__ = ["ChannelPlan", "DeployedNetwork", "Network", "NetworkConfig", "build", "channel_plan"]

ModuleT = TypeVar("ModuleT", bound=nn.Module)

ChannelPlan = Mapping[str, tuple[int, int]]
"""Layer name to (inputs, outputs) of every convolution, normalisation and linear layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Everything but the schema and the input size that fixes an unslimmed network.

    Raises:
        ConfigError: an unknown backbone or pool, or a standard deviation that is not positive.
    """

    backbone: str = "resnet18"
    """Name of the architecture."""
    resnet18: ResNet18Config = field(default_factory=ResNet18Config)
    """Sizes, where the backbone is ResNet-18."""
    pool: str = "columns"
    """``columns`` for texts, ``global`` for attributes."""
    mean: float = 127.5
    """Subtracted from every pixel value, in grey levels."""
    std: float = 64.0
    """Divides every pixel value after that, in grey levels."""

    def __post_init__(self) -> None:
        if self.backbone not in _BACKBONES:
            raise ConfigError(f"backbone {self.backbone!r} is unknown; use {sorted(_BACKBONES)}")
        if self.pool not in POOLS or not self.std > 0:
            raise ConfigError(
                f"pool must be one of {POOLS} and std > 0, got {self.pool!r} and {self.std}"
            )

    def to_object(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_object(cls, value: object) -> NetworkConfig:
        """Parse what ``to_object`` wrote.

        Raises:
            CheckpointError: unknown or missing keys, or values of another type.
            ConfigError: values out of range.
        """
        with StrictObject(value, "network config", CheckpointError) as item:
            return cls(
                backbone=item.text("backbone"),
                resnet18=ResNet18Config.from_object(item.mapping("resnet18")),
                pool=item.text("pool"),
                mean=item.number("mean"),
                std=item.number("std"),
            )


_BACKBONES: Final = {"resnet18": lambda config: ResNet18(config.resnet18)}


class Network(nn.Module):
    """uint8 crops in, logits per head out: the contract that every engine keeps, too."""

    mean: Tensor
    std: Tensor

    def __init__(self, schema: Schema, spec: InputSpec, config: NetworkConfig) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(config.mean), persistent=False)
        self.register_buffer("std", torch.tensor(config.std), persistent=False)
        self.pool = config.pool
        self.backbone = _BACKBONES[config.backbone](config)
        with torch.no_grad():
            self.eval()
            image = torch.zeros((1, *spec.shape), dtype=torch.uint8)
            features = self.features(image).shape[1]
            self.train()
        self.heads = Heads(schema, features)

    def features(self, images: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 to pooled features (N, F)."""
        # NHWC memory seen as NCHW: convolutions run on it as it lies.
        scaled = (images.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return pool_features(self.backbone(scaled), self.pool)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, H, W, 3) uint8 BGR to head name: (N, K) logits, in schema order."""
        return self.heads(self.features(images))  # type: ignore[no-any-return]


class DeployedNetwork(nn.Module):
    """A trained network in the form that engines run fastest: all heads in one linear layer."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.fused, self.sizes = network.heads.fused()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(N, H, W, 3) uint8 BGR to one (N, K) logits per head, in schema order."""
        return torch.split(self.fused(self.network.features(image)), self.sizes, dim=1)


def build(
    schema: Schema, spec: InputSpec, config: NetworkConfig, plan: ChannelPlan | None = None
) -> Network:
    """Build a network with fresh weights, slimmed to ``plan`` where given.

    Raises:
        CheckpointError: the plan names other layers than the network has, or one without channels.
    """
    network = _channels_last(Network(schema, spec, config))
    if plan is not None:
        _slim_to(network, plan)
    return network


def _channels_last(module: ModuleT) -> ModuleT:
    """Lay weights out as NHWC, the order in which crops lie; torch's own stubs lack this call."""
    moved: ModuleT = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


def channel_plan(network: nn.Module) -> dict[str, tuple[int, int]]:
    """Return the inputs and outputs of every layer that has channels."""
    plan = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            plan[name] = (layer.in_channels, layer.out_channels)
        elif isinstance(layer, nn.BatchNorm2d):
            plan[name] = (layer.num_features, layer.num_features)
        elif isinstance(layer, nn.Linear):
            plan[name] = (layer.in_features, layer.out_features)
    return plan


def _slim_to(network: Network, plan: ChannelPlan) -> None:
    if set(plan) != set(channel_plan(network)):
        raise CheckpointError(
            f"channel plan does not fit the network; layers that differ: "
            f"{sorted(set(plan) ^ set(channel_plan(network)))}"
        )
    for name, (inputs, outputs) in plan.items():
        if min(inputs, outputs) < 1:
            raise CheckpointError(f"channel plan: {name} has {inputs} inputs, {outputs} outputs")
        layer = network.get_submodule(name)
        parent, _, leaf = name.rpartition(".")
        setattr(network.get_submodule(parent), leaf, _resized(layer, inputs, outputs))


def _resized(layer: nn.Module, inputs: int, outputs: int) -> nn.Module:
    """Return a fresh layer like ``layer`` with other channel counts."""
    if isinstance(layer, nn.Conv2d):
        depthwise = layer.groups == layer.in_channels and layer.groups > 1
        conv = nn.Conv2d(
            inputs,
            outputs,
            layer.kernel_size,  # type: ignore[arg-type]
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            groups=inputs if depthwise else layer.groups,
            bias=layer.bias is not None,
        )
        return _channels_last(conv)
    if isinstance(layer, nn.BatchNorm2d):
        return nn.BatchNorm2d(outputs, layer.eps, layer.momentum)
    return nn.Linear(inputs, outputs, bias=layer.bias is not None)
