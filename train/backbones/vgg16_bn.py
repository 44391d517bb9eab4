"""VGG-16 with BatchNorm (Simonyan & Zisserman, ICLR 2015, table 1, column D).

Here to check slimming against Liu et al. (ICCV 2017), who slim it: no shortcut ties its channels.
Convolutions have no bias, since a BatchNorm follows each. The fully connected layers are left out:
the heads stand there. Max-pools round up, so that small maps keep their last row.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from .layers import conv_norm
from .sizes import BackboneConfig, bounded

__all__ = ["VGG16", "VGG16Config"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VGG16Config(BackboneConfig):
    """Sizes of a VGG-16; strides are those of its max-pools."""

    widths: tuple[int, ...] = bounded((64, 128, 256, 512, 512), 8)
    """Channels per stage."""
    blocks: tuple[int, ...] = bounded((2, 2, 3, 3, 3), 1)
    """Convolutions per stage; (2, 2, 4, 4, 4) makes a VGG-19."""


class VGG16(nn.Module):
    """Five stages of 3x3 convolutions, each with a max-pool behind it."""

    def __init__(self, config: VGG16Config) -> None:
        super().__init__()
        first = (config.stem_stride, config.stem_stride)
        strides = (first, (2, 2), (2, 2), config.fourth_stride, config.last_stride)
        layers: list[nn.Module] = []
        inputs = 3
        for width, count, stride in zip(config.widths, config.blocks, strides, strict=True):
            for _ in range(count):
                layers.append(conv_norm(inputs, width, 3, "relu"))
                inputs = width
            layers.append(nn.MaxPool2d(stride, stride, ceil_mode=True))
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) normalised to a feature map (N, C, h, w)."""
        features: Tensor = self.layers(image)
        return features
