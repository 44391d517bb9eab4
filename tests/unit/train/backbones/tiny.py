"""The smallest network of every backbone."""

from __future__ import annotations

import torch
from torch import nn

from runtime.preprocess import InputSpec
from runtime.schema import Schema
from tests.slimming import SCHEMA, SPEC
from train.backbones.sizes import Size
from train.network import Network, NetworkConfig, build

TINY: dict[str, dict[str, Size]] = {
    "resnet18": {"width": 8, "last_width": 16, "blocks": (1, 1, 1, 1)},
    "resnet18_v2": {"width": 8, "last_width": 16, "blocks": (1, 1, 1, 2)},
    "resnext18": {
        "width": 8, "last_width": 16, "blocks": (1, 1, 1, 1), "groups": 4, "group_width": 2,
    },
    "mixnet": {
        "multiplier": 0.3, "stem_width": 8, "last_width": 24, "blocks": (1, 1, 2, 1, 1, 1),
    },
    "mobilenet_v1": {"multiplier": 0.1, "blocks": (1, 1, 1, 2, 1)},
    "mobilenet_v2": {"multiplier": 0.1, "last_width": 24, "blocks": (1, 1, 1, 1, 1, 1, 1)},
    "mobilenet_v3_small": {"multiplier": 0.2},
    "mobilenet_v3_large": {"multiplier": 0.1},
    "vgg16_bn": {"widths": (8, 8, 16, 16, 16), "blocks": (1, 1, 2, 1, 1)},
}  # fmt: skip


def tiny_backbone_network(
    name: str, schema: Schema = SCHEMA, spec: InputSpec = SPEC, **sizes: Size
) -> Network:
    """A network to evaluate, whose every BatchNorm has its own random scales and statistics."""
    torch.manual_seed(0)
    network = build(schema, spec, NetworkConfig(backbone=name, sizes={**TINY[name], **sizes}))
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.2)
            nn.init.normal_(layer.running_mean, std=0.2)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    for linear in network.heads.layers().values():
        nn.init.normal_(linear.weight)
    return network.eval()
