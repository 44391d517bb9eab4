"""Named training configs: a recipe is a value, and its description says what it is for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .augment import AugmentConfig
from .backbones.resnet18 import ResNet18Config
from .config import FitConfig
from .loop import LoopConfig
from .network import NetworkConfig
from .optim import OptimConfig

__all__ = ["RECIPES"]

_PLATES = FitConfig(
    schema="cn-plate",
    imgsz=(48, 144),
    network=NetworkConfig(
        resnet18=ResNet18Config(width=48, last_width=384, last_stride=(2, 1)), pool="columns"
    ),
)

RECIPES: Final[Mapping[str, tuple[str, FitConfig]]] = {
    "plates": ("Texts of fixed length on small, wide crops: number plates.", _PLATES),
    "photos": (
        "Attributes of things or people on square crops.",
        FitConfig(
            imgsz=(96, 96),
            network=NetworkConfig(resnet18=ResNet18Config(width=32, last_width=256), pool="global"),
            loop=LoopConfig(augment=AugmentConfig(flip=0.5, colour=0.2), validate_every=200),
        ),
    ),
    "tiny": (
        "The smallest network that learns plates: for demos and tests on two cores.",
        FitConfig(
            schema="cn-plate",
            imgsz=(48, 144),
            network=NetworkConfig(
                resnet18=ResNet18Config(width=32, last_width=256, last_stride=(2, 1)),
                pool="columns",
            ),
            # Rendered crops vary enough as they are; changing them more needs more steps.
            loop=LoopConfig(
                steps=2000,
                validate_every=250,
                optim=OptimConfig(warmup=100),
                augment=AugmentConfig(geometry=0.3, colour=0.3, blur=0.1, noise=0.1, erase=0.05),
            ),
        ),
    ),
}
