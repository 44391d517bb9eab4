"""ResNeXt-18: the stages of a ResNet-18 with the aggregated block of ResNeXt.

Xie et al., "Aggregated Residual Transformations for Deep Neural Networks", CVPR 2017, figure 3c:
1x1, grouped 3x3, 1x1. The block has three layers because with two, as the paper notes (section
3.4), the groups would add up to one dense convolution. Two such blocks a stage as in ResNet-18.

Unlike the paper's 32x4d networks, the outputs of the stages have ResNet-18's widths instead of
twice the inner ones, so that pooled features stay small; the stem is 3x3.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from .layers import conv_norm, stack_stages
from .resnet18 import ResNet18Config
from .sizes import bounded

__all__ = ["ResNeXt18", "ResNeXt18Config"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResNeXt18Config(ResNet18Config):
    """Sizes of a ResNeXt-18; a 3x3 max-pool with stride 2 follows the stem."""

    groups: int = bounded(32, 1)
    """Groups of the 3x3 convolutions; the paper's cardinality."""
    group_width: int = bounded(4, 1)
    """Channels per group in the first stage; doubled from stage to stage."""


class AggregatedBlock(nn.Module):
    """1x1, grouped 3x3, 1x1 and a shortcut."""

    def __init__(
        self, inputs: int, inner: int, outputs: int, stride: tuple[int, int], groups: int
    ) -> None:
        super().__init__()
        self.narrow = conv_norm(inputs, inner, 1, "relu")
        self.grouped = conv_norm(inner, inner, 3, "relu", stride=stride, groups=groups)
        self.widen = conv_norm(inner, outputs, 1)
        self.shortcut: nn.Module = nn.Identity()
        if stride != (1, 1) or inputs != outputs:
            self.shortcut = conv_norm(inputs, outputs, 1, stride=stride)
        self.relu = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        inner = self.widen(self.grouped(self.narrow(features)))
        added: Tensor = self.relu(inner + self.shortcut(features))
        return added


class ResNeXt18(nn.Module):
    """Stem, max-pool and four stages of aggregated blocks."""

    def __init__(self, config: ResNeXt18Config) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            conv_norm(3, config.width, 3, "relu", stride=config.stem_stride), nn.MaxPool2d(3, 2, 1)
        )
        inner = config.groups * config.group_width
        self.stages = stack_stages(
            config.width,
            config.widths,
            config.blocks,
            config.strides,
            lambda inputs, outputs, stride, place: AggregatedBlock(
                inputs, inner << place[0], outputs, stride, config.groups
            ),
        )

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) normalised to a feature map (N, last_width, h, w)."""
        features: Tensor = self.stages(self.stem(image))
        return features
