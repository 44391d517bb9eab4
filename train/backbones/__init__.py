"""Backbones: one architecture a file, each built from a config of its own.

``python -m train.backbones`` lists them with their sizes, costs and latencies.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch import nn

from runtime.errors import ConfigError

from .mixnet import MixNet, MixNetConfig
from .mobilenet_v1 import MobileNetV1, MobileNetV1Config
from .mobilenet_v2 import MobileNetV2, MobileNetV2Config
from .mobilenet_v3 import MobileNetV3, MobileNetV3LargeConfig, MobileNetV3SmallConfig
from .own import build_own, is_own
from .resnet18 import ResNet18, ResNet18Config
from .resnet18_v2 import ResNet18V2
from .resnext18 import ResNeXt18, ResNeXt18Config
from .sizes import BackboneConfig, Size, Sizes, sizes_text
from .vgg16_bn import VGG16, VGG16Config

__all__ = ["BACKBONES", "Architecture", "build_backbone", "resolve_sizes"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """An entry of ``BACKBONES``."""

    config: type[BackboneConfig]
    """Its sizes and their defaults."""
    build: Callable[[Any], nn.Module]
    """Config to a module from (N, 3, H, W) normalised to a feature map (N, C, h, w)."""


BACKBONES: Final[Mapping[str, Architecture]] = {
    "resnet18": Architecture(ResNet18Config, ResNet18),
    "resnet18_v2": Architecture(ResNet18Config, ResNet18V2),
    "resnext18": Architecture(ResNeXt18Config, ResNeXt18),
    "mixnet": Architecture(MixNetConfig, MixNet),
    "mobilenet_v1": Architecture(MobileNetV1Config, MobileNetV1),
    "mobilenet_v2": Architecture(MobileNetV2Config, MobileNetV2),
    "mobilenet_v3_small": Architecture(MobileNetV3SmallConfig, MobileNetV3),
    "mobilenet_v3_large": Architecture(MobileNetV3LargeConfig, MobileNetV3),
    "vgg16_bn": Architecture(VGG16Config, VGG16),
}
"""Name to architecture. Its modules need nothing but torch, so none is imported late."""


def resolve_sizes(backbone: str, given: Mapping[str, Size]) -> Sizes:
    """Return all sizes of a backbone: those given, checked, and defaults for the rest.

    A network of the user's own has the sizes that are given; its factory checks them when it is
    built. Sizes that were resolved for another backbone count as none.

    Raises:
        ConfigError: an unknown backbone or size, or a value that cannot be; the message lists all
            sizes with their defaults.
    """
    if isinstance(given, Sizes) and given.backbone != backbone:
        given = {}
    if is_own(backbone):
        return Sizes(backbone, given)
    if backbone not in BACKBONES:
        raise ConfigError(
            f"backbone {backbone!r} is unknown; use one of {[*BACKBONES]}, package.module:factory "
            "or timm:NAME"
        )
    config = BACKBONES[backbone].config
    known = [each.name for each in dataclasses.fields(config)]
    unknown = [name for name in given if name not in known]
    try:
        if unknown:
            raise ConfigError(f"it has no size {', '.join(map(repr, unknown))}")
        resolved = config(**given)  # type: ignore[arg-type]
    except ConfigError as error:
        raise ConfigError(
            f"backbone {backbone}: {error}. Its sizes and their defaults: {sizes_text(config)}"
        ) from error
    return Sizes(backbone, {name: getattr(resolved, name) for name in known})


def build_backbone(backbone: str, sizes: Mapping[str, Size]) -> nn.Module:
    """Build a backbone with fresh weights.

    Raises:
        ConfigError: as ``resolve_sizes``; or a network of the user's own cannot be built.
        MissingExtraError: it is one of timm's, and timm cannot be imported.
    """
    if is_own(backbone):
        return build_own(backbone, sizes)
    architecture = BACKBONES[backbone]
    return architecture.build(architecture.config(**sizes))  # type: ignore[arg-type]
