"""ResNet-18 for small crops (He et al., "Deep Residual Learning", CVPR 2016, table 1).

Changed for crops of some 48x144 px: a 3x3 stem instead of 7x7, and a last stage that may keep the
width, so that neighbouring characters do not fall into one column of features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from runtime.errors import CheckpointError, ConfigError
from runtime.strict import StrictObject

__all__ = ["ResNet18", "ResNet18Config"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResNet18Config:
    """Sizes of a ResNet-18.

    Raises:
        ConfigError: a width below 8 or a stride other than 1 or 2.
    """

    width: int = 64
    """Channels of the stem and first stage; stages two and three have 2x and 4x."""
    last_width: int = 512
    """Channels of the last stage."""
    stem_stride: int = 2
    """Stride of the first convolution, 1 or 2; a 3x3 max-pool with stride 2 follows it."""
    last_stride: tuple[int, int] = (2, 2)
    """Stride of the last stage, vertical and horizontal; (2, 1) keeps twice the columns."""

    def __post_init__(self) -> None:
        strides = (self.stem_stride, *self.last_stride)
        known = len(self.last_stride) == 2 and all(stride in (1, 2) for stride in strides)
        if self.width < 8 or self.last_width < 8 or not known:
            raise ConfigError(
                f"resnet18: widths must be >= 8 and strides 1 or 2, got width {self.width}, "
                f"last_width {self.last_width}, strides {strides}"
            )

    @classmethod
    def from_object(cls, value: object) -> ResNet18Config:
        """Parse the JSON form of the fields.

        Raises:
            CheckpointError: unknown or missing keys, or values of another type.
            ConfigError: values out of range.
        """
        with StrictObject(value, "network config: resnet18", CheckpointError) as item:
            return cls(
                width=item.integer("width"),
                last_width=item.integer("last_width"),
                stem_stride=item.integer("stem_stride"),
                last_stride=item.integers("last_stride"),  # type: ignore[arg-type]
            )


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
    """Stem, max-pool and four stages of two basic blocks.

    Attributes:
        out_channels: Channels of the feature map that ``forward`` returns.
    """

    def __init__(self, config: ResNet18Config) -> None:
        super().__init__()
        width = config.width
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, config.stem_stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )
        widths = (width, 2 * width, 4 * width, config.last_width)
        strides = ((1, 1), (2, 2), (2, 2), config.last_stride)
        stages, inputs = [], width
        for outputs, stride in zip(widths, strides, strict=True):
            stages.append(
                nn.Sequential(
                    BasicBlock(inputs, outputs, stride), BasicBlock(outputs, outputs, (1, 1))
                )
            )
            inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.out_channels = config.last_width

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) normalised to a feature map (N, out_channels, h, w)."""
        features: Tensor = self.stages(self.stem(image))
        return features
