"""A network: preprocessing inside, a backbone, pooled features, one head per schema head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import torch
import tyro
from torch import Tensor, nn

from runtime.errors import CheckpointError, ConfigError
from runtime.preprocess import InputSpec
from runtime.schema import Schema
from runtime.strict import StrictObject

from .backbones import build_backbone, resolve_sizes
from .backbones.sizes import Size, parse_sizes, size_from_json, sizes_words
from .heads import FusedHeads, Heads
from .pooling import POOLS, build_pool

__all__ = [
    "ChannelPlan",
    "Channels",
    "DeployedNetwork",
    "Network",
    "NetworkConfig",
    "build",
    "channel_plan",
]

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class Channels(NamedTuple):
    """Channels of one layer."""

    inputs: int
    outputs: int
    groups: int = 1
    """Of a convolution; as many as ``inputs`` where it is depthwise. They are written down since
    they cannot be told from the counts: a grouped convolution may lose whole groups, or as many
    channels from each."""


ChannelPlan = Mapping[str, Channels]
"""Layer name to channels of every convolution, normalisation and linear layer."""

_LATER: Final = frozenset({"fourth_stride"})
"""Sizes that checkpoints may lack: there were none of them when they were written."""
_SIZES = tyro.constructors.PrimitiveConstructorSpec[Mapping[str, Size]](
    nargs="*",
    metavar="NAME=VALUE",
    instance_from_str=parse_sizes,
    is_instance=lambda value: isinstance(value, Mapping),
    str_from_instance=sizes_words,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Everything but the schema and the input size that fixes an unslimmed network.

    Raises:
        ConfigError: an unknown backbone, size or pool, or a standard deviation that is not
            positive.
    """

    backbone: Annotated[str, tyro.conf.arg(name="")] = "resnet18"
    """Architecture: a name that `python -m train.backbones` lists, package.module:factory, or
    timm:NAME."""
    sizes: Annotated[Mapping[str, Size], _SIZES] = field(default_factory=dict)
    """What differs from the backbone's own defaults, e.g. width=48 last_stride=2,1; afterwards
    it holds all of the backbone's sizes. Those of a recipe count for its own backbone only."""
    pool: str = "columns"
    """``attention`` or ``columns`` for texts, ``global`` for attributes."""
    mean: float = 127.5
    """Subtracted from every pixel value, in grey levels."""
    std: float = 64.0
    """Divides every pixel value after that, in grey levels."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", resolve_sizes(self.backbone, self.sizes))
        if self.pool not in POOLS or not self.std > 0:
            raise ConfigError(
                f"pool must be one of {tuple(POOLS)} and std > 0, got {self.pool!r} and {self.std}"
            )

    def to_object(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "backbone": self.backbone,
            "sizes": {n: list(v) if isinstance(v, tuple) else v for n, v in self.sizes.items()},
            "pool": self.pool,
            "mean": self.mean,
            "std": self.std,
        }

    @classmethod
    def from_object(cls, value: object) -> NetworkConfig:
        """Parse what ``to_object`` wrote, and what Headlight 0.1 wrote, which had one backbone.

        Sizes that came later have the values that all networks had before.

        Raises:
            CheckpointError: unknown or missing keys or sizes, or values of another type.
            ConfigError: values out of range.
        """
        with StrictObject(value, "network config", CheckpointError) as item:
            older = item.optional_mapping("resnet18")
            stored = item.mapping("sizes") if older is None else older
            config = cls(
                backbone=item.text("backbone"),
                sizes={n: size_from_json(n, v, CheckpointError) for n, v in stored.items()},
                pool=item.text("pool"),
                mean=item.number("mean"),
                std=item.number("std"),
            )
        missing = sorted(set(config.sizes) - set(stored) - _LATER)
        if missing and older is None:
            raise CheckpointError(f"network config: sizes {missing} are missing")
        return config


class Network(nn.Module):
    """uint8 crops in, logits per head out: the contract that every engine keeps, too."""

    mean: Tensor
    std: Tensor

    def __init__(self, schema: Schema, spec: InputSpec, config: NetworkConfig) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(config.mean), persistent=False)
        self.register_buffer("std", torch.tensor(config.std), persistent=False)
        self.backbone = build_backbone(config.backbone, config.sizes)
        with torch.no_grad():
            self.eval()
            features = self.features(torch.zeros((1, *spec.shape), dtype=torch.uint8))
            self.train()
        self.heads = Heads(schema, build_pool(config.pool, schema, features))

    def features(self, images: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 to the backbone's feature map, (N, C, h, w)."""
        # NHWC memory seen as NCHW: convolutions run on it as it lies. Floats before they are
        # turned, because TensorRT takes uint8 into nothing but a type conversion.
        scaled = (images.float().permute(0, 3, 1, 2) - self.mean) / self.std
        features: Tensor = self.backbone(scaled)
        return features

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, H, W, 3) uint8 BGR to head name: (N, K) logits, in schema order."""
        return self.heads(self.features(images))  # type: ignore[no-any-return]


class DeployedNetwork(nn.Module):
    """A trained network in the form that engines run fastest."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.heads = FusedHeads(network.heads)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(N, H, W, 3) uint8 BGR to one (N, K) logits per head, in schema order."""
        logits: tuple[Tensor, ...] = self.heads(self.network.features(image))
        return logits


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


def channel_plan(network: nn.Module) -> dict[str, Channels]:
    """Return the channels of every layer that has some."""
    plan = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            plan[name] = Channels(layer.in_channels, layer.out_channels, layer.groups)
        elif isinstance(layer, nn.BatchNorm2d):
            plan[name] = Channels(layer.num_features, layer.num_features)
        elif isinstance(layer, nn.Linear):
            plan[name] = Channels(layer.in_features, layer.out_features)
    return plan


def _slim_to(network: Network, plan: ChannelPlan) -> None:
    full = channel_plan(network)
    if set(plan) != set(full):
        raise CheckpointError(
            f"channel plan does not fit the network; layers that differ: "
            f"{sorted(set(plan) ^ set(full))}"
        )
    for name, channels in plan.items():
        _check_channels(name, channels, full[name])
        if channels != full[name]:
            layer = network.get_submodule(name)
            parent, _, leaf = name.rpartition(".")
            setattr(network.get_submodule(parent), leaf, _resized(name, layer, channels))


def _check_channels(name: str, channels: Channels, full: Channels) -> None:
    inputs, outputs, groups = channels
    if min(channels) < 1:
        raise CheckpointError(f"channel plan: {name} has {inputs} inputs, {outputs} outputs")
    if groups > full.groups or inputs % groups or outputs % groups:
        raise CheckpointError(
            f"channel plan: {name} has {groups} groups for {inputs} inputs and {outputs} outputs; "
            f"groups must divide both and be at most {full.groups}"
        )


def _resized(name: str, layer: nn.Module, channels: Channels) -> nn.Module:
    """Return a fresh layer like ``layer`` with other channels."""
    # Exact types: a subclass, as networks of others have, may do more than its parent.
    if type(layer) is nn.Conv2d:
        conv = nn.Conv2d(
            channels.inputs,
            channels.outputs,
            layer.kernel_size,  # type: ignore[arg-type]
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            layer.dilation,  # type: ignore[arg-type]
            channels.groups,
            bias=layer.bias is not None,
            padding_mode=layer.padding_mode,
        )
        return _channels_last(conv)
    if type(layer) is nn.BatchNorm2d:
        return nn.BatchNorm2d(
            channels.outputs, layer.eps, layer.momentum, layer.affine, layer.track_running_stats
        )
    if type(layer) is nn.Linear:
        return nn.Linear(channels.inputs, channels.outputs, bias=layer.bias is not None)
    raise CheckpointError(
        f"channel plan: {name} is a {type(layer).__name__}; only nn.Conv2d, nn.BatchNorm2d and "
        "nn.Linear themselves can be slimmed"
    )
