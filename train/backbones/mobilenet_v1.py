"""MobileNet v1 (Howard et al., "MobileNets", arXiv:1704.04861, 2017, table 1).

Depthwise separable convolutions: a 3x3 filter per channel, then 1x1. Unlike the paper, widths under
a multiplier are rounded to multiples of 8, as from v2 on.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from .layers import conv_norm, depthwise, divisible, stack_stages
from .sizes import BackboneConfig, bounded

__all__ = ["MobileNetV1", "MobileNetV1Config"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MobileNetV1Config(BackboneConfig):
    """Sizes of a MobileNet v1."""

    multiplier: float = bounded(1.0, 0.05, 4.0)
    """Of all widths; the paper's alpha."""
    stem_width: int = bounded(32, 8)
    """Channels of the stem."""
    widths: tuple[int, ...] = bounded((64, 128, 256, 512, 1024), 8)
    """Channels per stage."""
    blocks: tuple[int, ...] = bounded((1, 2, 2, 6, 2), 1)
    """Separable convolutions per stage."""
    kernel: int = bounded(3, 1, 11, odd=True)
    """Of the depthwise convolutions."""


def _separable(
    inputs: int, outputs: int, stride: tuple[int, int], config: MobileNetV1Config
) -> nn.Sequential:
    return nn.Sequential(
        depthwise(inputs, config.kernel, "relu", stride), conv_norm(inputs, outputs, 1, "relu")
    )


class MobileNetV1(nn.Module):
    """Stem and five stages of separable convolutions."""

    def __init__(self, config: MobileNetV1Config) -> None:
        super().__init__()
        stem = divisible(config.stem_width * config.multiplier)
        self.stem = conv_norm(3, stem, 3, "relu", stride=config.stem_stride)
        self.stages = stack_stages(
            stem,
            [divisible(width * config.multiplier) for width in config.widths],
            config.blocks,
            ((1, 1), (2, 2), (2, 2), config.fourth_stride, config.last_stride),
            lambda inputs, outputs, stride, _: _separable(inputs, outputs, stride, config),
        )

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) normalised to a feature map (N, C, h, w)."""
        features: Tensor = self.stages(self.stem(image))
        return features
