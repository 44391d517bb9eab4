"""MobileNet v3, large and small (Howard et al., "Searching for MobileNetV3", ICCV 2019).

Tables 1 and 2 row by row: squeeze-and-excite where they say SE, hard-swish where they say HS. What
follows the pooling there (a hidden layer of 1280 or 1024) is left out: the heads stand there.
BatchNorms have torch's epsilon and momentum instead of the paper's 0.001 and 0.01.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from torch import Tensor, nn

from .layers import InvertedResidual, conv_norm, depthwise, divisible
from .sizes import BackboneConfig, bounded

__all__ = ["MobileNetV3", "MobileNetV3LargeConfig", "MobileNetV3SmallConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MobileNetV3LargeConfig(BackboneConfig):
    """Sizes of a MobileNet v3 large: one entry per row of table 1."""

    multiplier: float = bounded(1.0, 0.05, 4.0)
    """Of all widths."""
    stem_width: int = bounded(16, 8)
    """Channels of the stem."""
    widths: tuple[int, ...] = bounded(
        (16, 24, 24, 40, 40, 40, 80, 80, 80, 80, 112, 112, 160, 160, 160), 8
    )
    """Channels that each block puts out."""
    expanded: tuple[int, ...] = bounded(
        (16, 64, 72, 72, 120, 120, 240, 200, 184, 184, 480, 672, 672, 960, 960), 8
    )
    """Inner channels of each block."""
    kernels: tuple[int, ...] = bounded(
        (3, 3, 3, 5, 5, 5, 3, 3, 3, 3, 3, 3, 5, 5, 5), 1, 11, odd=True
    )
    """Of each block's depthwise convolution."""
    squeeze: float = bounded(0.25, 0.0, 1.0)
    """Inner channels of a squeeze over those it weighs; 0 for no squeeze anywhere."""
    last_width: int = bounded(960, 8)
    """Channels of the features."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MobileNetV3SmallConfig(MobileNetV3LargeConfig):
    """Sizes of a MobileNet v3 small: one entry per row of table 2."""

    widths: tuple[int, ...] = bounded((16, 24, 24, 40, 40, 40, 48, 48, 96, 96, 96), 8)
    expanded: tuple[int, ...] = bounded((16, 72, 88, 96, 240, 240, 120, 144, 288, 576, 576), 8)
    kernels: tuple[int, ...] = bounded((3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 5), 1, 11, odd=True)
    last_width: int = bounded(576, 8)


@dataclass(frozen=True, slots=True)
class _Rows:
    """What the tables fix: rows with a squeeze, rows with a stride, and the first with HS."""

    squeezed: frozenset[int]
    halving: tuple[int, ...]
    first_hard_swish: int


_LARGE: Final = _Rows(frozenset((3, 4, 5, 10, 11, 12, 13, 14)), (1, 3, 6, 12), 6)
_SMALL: Final = _Rows(frozenset((0, *range(3, 11))), (0, 1, 3, 8), 3)


class MobileNetV3(nn.Module):
    """Stem, inverted residuals, and a 1x1 convolution; large or small as the config is."""

    def __init__(self, config: MobileNetV3LargeConfig) -> None:
        super().__init__()
        rows = _SMALL if isinstance(config, MobileNetV3SmallConfig) else _LARGE
        late = zip(rows.halving[-2:], (config.fourth_stride, config.last_stride), strict=True)
        strides = dict.fromkeys(rows.halving, (2, 2)) | dict(late)
        widths = [divisible(width * config.multiplier) for width in config.widths]
        inners = [divisible(width * config.multiplier) for width in config.expanded]
        stem = divisible(config.stem_width * config.multiplier)
        self.stem = conv_norm(3, stem, 3, "hardswish", stride=config.stem_stride)
        blocks = []
        for row, (inputs, inner, outputs, kernel) in enumerate(
            zip([stem, *widths[:-1]], inners, widths, config.kernels, strict=True)
        ):
            activation = "hardswish" if row >= rows.first_hard_swish else "relu"
            stride = strides.get(row, (1, 1))
            squeezed = config.squeeze and row in rows.squeezed
            blocks.append(
                InvertedResidual(
                    inputs,
                    inner,
                    outputs,
                    stride,
                    depthwise(inner, kernel, activation, stride),
                    activation,
                    squeezed=divisible(inner * config.squeeze) if squeezed else 0,
                )
            )
        self.blocks = nn.Sequential(*blocks)
        last = divisible(config.last_width * config.multiplier)
        self.tail = conv_norm(widths[-1], last, 1, "hardswish")

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) normalised to a feature map (N, C, h, w)."""
        features: Tensor = self.tail(self.blocks(self.stem(image)))
        return features
