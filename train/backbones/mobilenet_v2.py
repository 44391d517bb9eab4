"""MobileNet v2 (Sandler et al., "MobileNetV2", CVPR 2018, table 2)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from .layers import InvertedResidual, conv_norm, depthwise, divisible, stack_stages
from .sizes import BackboneConfig, bounded

__all__ = ["MobileNetV2", "MobileNetV2Config"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MobileNetV2Config(BackboneConfig):
    """Sizes of a MobileNet v2; the last of the paper's strides is in stage six of seven."""

    multiplier: float = bounded(1.0, 0.05, 4.0)
    """Of all widths but the last, which it only makes larger, as in the paper."""
    stem_width: int = bounded(32, 8)
    """Channels of the stem."""
    widths: tuple[int, ...] = bounded((16, 24, 32, 64, 96, 160, 320), 8)
    """Channels per stage."""
    blocks: tuple[int, ...] = bounded((1, 2, 3, 4, 3, 3, 1), 1)
    """Inverted residuals per stage."""
    expansion: int = bounded(6, 1, 12)
    """Inner channels of an inverted residual over its inputs; the first stage has 1."""
    kernel: int = bounded(3, 1, 11, odd=True)
    """Of the depthwise convolutions."""
    last_width: int = bounded(1280, 8)
    """Channels of the features."""


class MobileNetV2(nn.Module):
    """Stem, seven stages of inverted residuals, and a 1x1 convolution."""

    def __init__(self, config: MobileNetV2Config) -> None:
        super().__init__()
        stem = divisible(config.stem_width * config.multiplier)
        widths = [divisible(width * config.multiplier) for width in config.widths]
        last = divisible(config.last_width * max(1.0, config.multiplier))
        self.stem = conv_norm(3, stem, 3, "relu6", stride=config.stem_stride)

        def block(
            inputs: int, outputs: int, stride: tuple[int, int], place: tuple[int, int]
        ) -> nn.Module:
            inner = inputs * (config.expansion if place[0] else 1)
            spatial = depthwise(inner, config.kernel, "relu6", stride)
            return InvertedResidual(inputs, inner, outputs, stride, spatial, "relu6")

        late = (config.fourth_stride, (1, 1), config.last_stride, (1, 1))
        strides = ((1, 1), (2, 2), (2, 2), *late)
        self.stages = stack_stages(stem, widths, config.blocks, strides, block)
        self.tail = conv_norm(widths[-1], last, 1, "relu6")

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) normalised to a feature map (N, C, h, w)."""
        features: Tensor = self.tail(self.stages(self.stem(image)))
        return features
