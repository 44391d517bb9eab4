"""Pre-activation ResNet-18 (He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016).

Full pre-activation (figure 4e): BatchNorm and ReLU come before each convolution, so that nothing
stands on the way of the identity. As the appendix says, the first unit starts from what the stem
has activated, and one BatchNorm and ReLU follow the last addition. Changed for small crops as
``resnet18`` is. BatchNorms behind an addition cannot fold into a convolution: ``train.graph``
writes them as one multiplication and one addition.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .layers import pooled_stem, stack_stages
from .resnet18 import ResNet18Config

__all__ = ["ResNet18V2"]


class PreActivationBlock(nn.Module):
    """BatchNorm, ReLU, convolution; twice, and a shortcut that nothing follows.

    A projecting shortcut reads the activated input, as in the authors' code; an identity reads the
    input itself.
    """

    def __init__(
        self, inputs: int, outputs: int, stride: tuple[int, int], *, activated: bool
    ) -> None:
        super().__init__()
        self.bn1 = nn.Identity() if activated else nn.BatchNorm2d(inputs)
        self.relu1 = nn.Identity() if activated else nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.projection: nn.Module | None = None
        if stride != (1, 1) or inputs != outputs:
            self.projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        active = self.relu1(self.bn1(features))
        inner = self.conv2(torch.relu(self.bn2(self.conv1(active))))
        shortcut = features if self.projection is None else self.projection(active)
        added: Tensor = inner + shortcut
        return added


class ResNet18V2(nn.Module):
    """Stem, max-pool, four stages of pre-activation blocks, BatchNorm and ReLU.

    Its sizes are those of a ResNet-18.
    """

    def __init__(self, config: ResNet18Config) -> None:
        super().__init__()
        self.stem = pooled_stem(config.width, config.stem_stride)
        self.stages = stack_stages(
            config.width,
            config.widths,
            config.blocks,
            config.strides,
            lambda inputs, outputs, stride, place: PreActivationBlock(
                inputs, outputs, stride, activated=place == (0, 0)
            ),
        )
        self.tail = nn.Sequential(nn.BatchNorm2d(config.last_width), nn.ReLU())

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) normalised to a feature map (N, last_width, h, w)."""
        features: Tensor = self.tail(self.stages(self.stem(image)))
        return features
