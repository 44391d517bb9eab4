"""Parts that several architectures are made of.

Plain modules only: all of them trace, fold, quantise and export without custom operators. Weights
start as torch starts them; with a BatchNorm behind every convolution their scale does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, nn

__all__ = [
    "ACTIVATIONS",
    "InvertedResidual",
    "MixedDepthwise",
    "SqueezeExcite",
    "conv_norm",
    "depthwise",
    "divisible",
    "pooled_stem",
    "stack_stages",
]

ACTIVATIONS: Final[Mapping[str, Callable[[], nn.Module]]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hardswish": nn.Hardswish,
    "silu": nn.SiLU,
}
Stride = tuple[int, int]


def conv_norm(
    inputs: int,
    outputs: int,
    kernel: int,
    activation: str = "",
    *,
    stride: Stride | int = 1,
    groups: int = 1,
) -> nn.Sequential:
    """Convolution that keeps the size at stride 1, BatchNorm, and an activation where named."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    if activation:
        layers.append(ACTIVATIONS[activation]())
    return nn.Sequential(*layers)


def pooled_stem(width: int, stride: int) -> nn.Sequential:
    """The stem of residual networks on small crops: 3x3 convolution, max-pool of stride 2."""
    return nn.Sequential(*conv_norm(3, width, 3, "relu", stride=stride), nn.MaxPool2d(3, 2, 1))


def depthwise(channels: int, kernel: int, activation: str, stride: Stride) -> nn.Sequential:
    """One filter per channel."""
    return conv_norm(channels, channels, kernel, activation, stride=stride, groups=channels)


def divisible(channels: float, by: int = 8) -> int:
    """Round to a multiple of ``by``, never down by more than a tenth (Howard et al., 2017)."""
    rounded = max(by, int(channels + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * channels else rounded


def stack_stages(
    inputs: int,
    widths: Sequence[int],
    blocks: Sequence[int],
    strides: Sequence[Stride],
    make_block: Callable[[int, int, Stride, tuple[int, int]], nn.Module],
) -> nn.Sequential:
    """Stages of equal blocks; the first block of a stage has its stride and changes the width.

    Args:
        inputs: Channels before the first stage.
        widths: Channels of each stage.
        blocks: Number of blocks of each stage.
        strides: Stride of each stage, vertical and horizontal.
        make_block: (inputs, outputs, stride, (stage, block)) to a block.
    """
    stages = []
    plan = zip(widths, blocks, strides, strict=True)
    for stage, (width, count, stride) in enumerate(plan):
        row = [make_block(inputs, width, stride, (stage, 0))]
        row += [make_block(width, width, (1, 1), (stage, block)) for block in range(1, count)]
        stages.append(nn.Sequential(*row))
        inputs = width
    return nn.Sequential(*stages)


class SqueezeExcite(nn.Module):
    """Weigh channels by what is in the whole map (Hu et al., CVPR 2018).

    The gate is a hard sigmoid, as in MobileNetV3: engines run it as fast as a ReLU.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.activation = nn.ReLU()
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        # A mean, not adaptive pooling: that one does not convert to TFLite with a free batch.
        pooled = features.mean((2, 3), keepdim=True)
        weights = self.expand(self.activation(self.reduce(pooled)))
        scaled: Tensor = features * self.gate(weights)
        return scaled


class MixedDepthwise(nn.Module):
    """Depthwise convolutions of several kernel sizes, each over its share of the channels.

    Tan & Le, "MixConv: Mixed Depthwise Convolutional Kernels", BMVC 2019, section 3.1. Every part
    has a BatchNorm of its own, which computes what one over all would and folds into its
    convolution.
    """

    def __init__(
        self, channels: int, kernels: Sequence[int], activation: str, stride: Stride
    ) -> None:
        super().__init__()
        share, rest = divmod(channels, len(kernels))
        parts = [share + (rest if index == 0 else 0) for index in range(len(kernels))]
        self.parts = nn.ModuleList(
            conv_norm(part, part, kernel, stride=stride, groups=part)
            for part, kernel in zip(parts, kernels, strict=True)
        )
        self.activation = ACTIVATIONS[activation]()

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H / stride, W / stride)."""
        # Read from the layers: slimming may have taken channels from any of them.
        sizes = [part[0].in_channels for part in self.parts]  # type: ignore[index]
        pieces = torch.split(features, sizes, dim=1)
        mixed = torch.cat([part(x) for part, x in zip(self.parts, pieces, strict=True)], dim=1)
        activated: Tensor = self.activation(mixed)
        return activated


class InvertedResidual(nn.Module):
    """Widen by 1x1, filter each channel, narrow by 1x1; add the input where shapes allow.

    Sandler et al., "MobileNetV2", CVPR 2018, section 3.3; the squeeze between filter and narrowing
    as in Howard et al., "Searching for MobileNetV3", ICCV 2019, figure 4.

    Args:
        inputs: Channels in.
        inner: Channels of the filter; where equal to ``inputs`` nothing is widened.
        outputs: Channels out.
        stride: Of ``spatial``.
        spatial: The filter over (N, inner, H, W), with its activation.
        activation: After widening; after narrowing there is none.
        squeezed: Inner channels of the squeeze; 0 for none.
        expand_groups: Of the widening convolution.
        project_groups: Of the narrowing convolution.
    """

    def __init__(
        self,
        inputs: int,
        inner: int,
        outputs: int,
        stride: Stride,
        spatial: nn.Module,
        activation: str,
        *,
        squeezed: int = 0,
        expand_groups: int = 1,
        project_groups: int = 1,
    ) -> None:
        super().__init__()
        self.expand: nn.Module = nn.Identity()
        if inner != inputs:
            self.expand = conv_norm(inputs, inner, 1, activation, groups=expand_groups)
        self.spatial = spatial
        self.squeeze = SqueezeExcite(inner, squeezed) if squeezed else nn.Identity()
        self.project = conv_norm(inner, outputs, 1, groups=project_groups)
        self.adds = stride == (1, 1) and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        narrow: Tensor = self.project(self.squeeze(self.spatial(self.expand(features))))
        return features + narrow if self.adds else narrow
