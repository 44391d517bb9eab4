"""MixNet-S (Tan & Le, "MixConv: Mixed Depthwise Convolutional Kernels", BMVC 2019, figure 7).

Sized for small crops and for engines. Each difference from the authors' network is a size that can
be set back: kernels end at 9 instead of 11, as the last feature maps are smaller than that; 1x1
convolutions have one group instead of two; hard-swish stands for swish. The gate of the squeeze is
a hard sigmoid. XNNPACK (TFLite) is slow on depthwise kernels of more than 25 taps: there, give
``kernels=3,5``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from torch import Tensor, nn

from .layers import InvertedResidual, MixedDepthwise, conv_norm, divisible, stack_stages
from .sizes import BackboneConfig, bounded, one_of

__all__ = ["MixNet", "MixNetConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MixNetConfig(BackboneConfig):
    """Sizes of a MixNet; the last of the paper's strides is in stage six of six."""

    multiplier: float = bounded(1.0, 0.05, 4.0)
    """Of all widths but the last."""
    stem_width: int = bounded(16, 8)
    """Channels of the stem."""
    widths: tuple[int, ...] = bounded((16, 24, 40, 80, 120, 200), 8)
    """Channels per stage."""
    blocks: tuple[int, ...] = bounded((1, 2, 4, 3, 3, 3), 1)
    """Inverted residuals per stage."""
    expansions: tuple[int, ...] = bounded((1, 6, 6, 6, 6, 6), 1, 12)
    """Inner channels over inputs in the first block of a stage."""
    later_expansions: tuple[int, ...] = bounded((1, 3, 6, 6, 3, 6), 1, 12)
    """The same in its other blocks."""
    kernels: tuple[int, ...] = bounded((3, 5, 7, 9), 1, 11, length=0, odd=True)
    """Sizes that are mixed, smallest first; a block takes as many of them as the paper's does."""
    squeeze: float = bounded(0.5, 0.0, 1.0)
    """Inner channels of a squeeze over the block's inputs, half of that in stage four; 0 for no
    squeeze anywhere."""
    pointwise_groups: int = bounded(1, 1, 2)
    """Groups of the 1x1 convolutions that have two in the paper."""
    last_width: int = bounded(1536, 8)
    """Channels of the features."""
    activation: str = one_of("hardswish", ("relu", "hardswish", "silu"))
    """From stage three on; before that it is ReLU."""


@dataclass(frozen=True, slots=True)
class _Block:
    """What the paper fixes about the first block of a stage, or about its others."""

    mixed: int
    """Number of kernel sizes."""
    expand_grouped: bool = False
    project_grouped: bool = False


_BOTH: Final = _Block(1, expand_grouped=True, project_grouped=True)
_STAGES: Final = (
    (_Block(1), _Block(1)),
    (_BOTH, _BOTH),
    (_Block(3), _Block(2, expand_grouped=True, project_grouped=True)),
    (_Block(3, project_grouped=True), _Block(2, project_grouped=True)),
    (
        _Block(3, expand_grouped=True, project_grouped=True),
        _Block(4, expand_grouped=True, project_grouped=True),
    ),
    (_Block(5), _Block(4, project_grouped=True)),
)
_SQUEEZES: Final = (0.0, 0.0, 1.0, 0.5, 1.0, 1.0)
"""Per stage, in units of ``squeeze``."""


def _block(
    config: MixNetConfig,
    inputs: int,
    outputs: int,
    stride: tuple[int, int],
    place: tuple[int, int],
) -> InvertedResidual:
    stage, index = place
    rule = _STAGES[stage][min(index, 1)]
    expansions = config.later_expansions if index else config.expansions
    inner = inputs * expansions[stage]
    activation = config.activation if stage >= 2 else "relu"
    return InvertedResidual(
        inputs,
        inner,
        outputs,
        stride,
        MixedDepthwise(inner, config.kernels[: rule.mixed], activation, stride),
        activation,
        squeezed=round(inputs * config.squeeze * _SQUEEZES[stage]),
        expand_groups=config.pointwise_groups if rule.expand_grouped else 1,
        project_groups=config.pointwise_groups if rule.project_grouped else 1,
    )


class MixNet(nn.Module):
    """Stem, six stages of inverted residuals with mixed kernels, and a 1x1 convolution."""

    def __init__(self, config: MixNetConfig) -> None:
        super().__init__()
        stem = divisible(config.stem_width * config.multiplier)
        widths = [divisible(width * config.multiplier) for width in config.widths]
        self.stem = conv_norm(3, stem, 3, "relu", stride=config.stem_stride)
        self.stages = stack_stages(
            stem,
            widths,
            config.blocks,
            ((1, 1), (2, 2), (2, 2), config.fourth_stride, (1, 1), config.last_stride),
            lambda inputs, outputs, stride, place: _block(config, inputs, outputs, stride, place),
        )
        self.tail = conv_norm(widths[-1], config.last_width, 1, "relu")

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) normalised to a feature map (N, last_width, h, w)."""
        features: Tensor = self.tail(self.stages(self.stem(image)))
        return features
