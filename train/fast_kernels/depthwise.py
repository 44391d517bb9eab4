"""Gradients of depthwise convolutions (ADR 0036).

That of the picture is a convolution of the gradient, zeros put between its places, with the kernel
turned by 180 degrees. That of the weights is put together from the weight gradients of 3x3 kernels,
each at its place in the larger one.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from .convolution import Kernels, Pair, nhwc, of_onednn, onednn

__all__ = ["DEPTHWISE", "is_slow"]

_PART: Final = 3
"""Largest kernel whose weight gradient is fast."""


def is_slow(image: Tensor, weight: Tensor, stride: Pair, padding: Pair, groups: int) -> bool:
    """Whether a convolution is a depthwise one whose gradients oneDNN computes slowly."""
    sides = tuple(weight.shape[2:])
    if not groups == image.shape[1] == weight.shape[0] or weight.shape[1] != 1:
        return False
    if any(side % 2 == 0 or side < _PART for side in sides):
        return False
    inside = all(pad < side for side, pad in zip(sides, padding, strict=True))
    return inside and (max(stride) > 1 or max(sides) > _PART)


def _image_gradient(
    grad: Tensor, image: Tensor, weight: Tensor, stride: Pair, padding: Pair
) -> Tensor:
    size = [
        side + 2 * pad - kernel + 1
        for side, pad, kernel in zip(image.shape[2:], padding, weight.shape[2:], strict=True)
    ]
    spread = grad
    if max(stride) > 1:
        spread = nhwc(grad.new_zeros((*grad.shape[:2], *size)))
        spread[:, :, :: stride[0], :: stride[1]] = grad
    around = [kernel - 1 - pad for pad, kernel in zip(padding, weight.shape[2:], strict=True)]
    return functional.conv2d(spread, weight.flip(2, 3), None, 1, around, 1, len(weight))


def _weight_gradient(
    grad: Tensor, image: Tensor, weight: Tensor, stride: Pair, padding: Pair
) -> Tensor:
    """Return the gradient of the weights, (C, 1, h, w), in parts of 3x3."""
    height, width = weight.shape[2:]
    padded = image
    if (height, width) != (_PART, _PART):
        padded = functional.pad(image, (padding[1], padding[1], padding[0], padding[0]))
        padding = (0, 0)
    reach = [step * (side - 1) + _PART for step, side in zip(stride, grad.shape[2:], strict=True)]
    found = torch.empty_like(weight)
    part = nhwc(weight[:, :, :_PART, :_PART])
    for top in range(0, height - 1, _PART - 1):
        for left in range(0, width - 1, _PART - 1):
            seen = padded
            if padded is not image:
                seen = nhwc(padded[:, :, top : top + reach[0], left : left + reach[1]])
            found[:, :, top : top + _PART, left : left + _PART] = of_onednn(
                grad, seen, part, stride, padding, of_weight=True
            )
    return found


DEPTHWISE: Final = Kernels(onednn, _image_gradient, _weight_gradient)
"""A group for every channel."""
