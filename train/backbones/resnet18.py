"""ResNet-18 for small crops (He et al., "Deep Residual Learning", CVPR 2016, table 1).

Changed for crops of some 48x144 px: a 3x3 stem instead of 7x7, and a last stage that may keep the
width, so that neighbouring characters do not fall into one column of features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .layers import pooled_stem, stack_stages
from .sizes import BackboneConfig, bounded

__all__ = ["ResNet18", "ResNet18Config"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResNet18Config(BackboneConfig):
    """Sizes of a ResNet-18; a 3x3 max-pool with stride 2 follows the stem."""

    width: int = bounded(64, 8)
    """Channels of the stem and first stage; stages two and three have 2x and 4x."""
    last_width: int = bounded(512, 8)
    """Channels of the last stage."""
    blocks: tuple[int, ...] = bounded((2, 2, 2, 2), 1)
    """Blocks per stage; (3, 4, 6, 3) makes a ResNet-34."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the four stages."""
        return (self.width, 2 * self.width, 4 * self.width, self.last_width)

    @property
    def strides(self) -> tuple[tuple[int, int], ...]:
        """Stride of the four stages."""
        return ((1, 1), (2, 2), self.fourth_stride, self.last_stride)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != (1, 1) or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        inner = torch.relu(self.bn1(self.conv1(features)))
        return torch.relu(self.bn2(self.conv2(inner)) + self.shortcut(features))


class ResNet18(nn.Module):
    """Stem, max-pool and four stages of two basic blocks."""

    def __init__(self, config: ResNet18Config) -> None:
        super().__init__()
        self.stem = pooled_stem(config.width, config.stem_stride)
        self.stages = stack_stages(
            config.width,
            config.widths,
            config.blocks,
            config.strides,
            lambda inputs, outputs, stride, _: BasicBlock(inputs, outputs, stride),
        )

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) normalised to a feature map (N, last_width, h, w)."""
        features: Tensor = self.stages(self.stem(image))
        return features
