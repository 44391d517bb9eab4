"""A convolution whose parts are chosen one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Convolution", "Kernels", "Pair", "map_size", "nhwc", "of_onednn", "onednn"]

Pair: TypeAlias = tuple[int, int]
"""Of height and width."""
Forward: TypeAlias = Callable[[Tensor, Tensor, Tensor | None, Pair, Pair], Tensor]
"""(image, weight, bias, stride, padding) to the convolution."""
Gradient: TypeAlias = Callable[[Tensor, Tensor, Tensor, Pair, Pair], Tensor]
"""(gradient of the convolution, image, weight, stride, padding) to that of image or weight."""


@dataclass(frozen=True, slots=True)
class Kernels:
    """How to compute a convolution of (N, C, H, W) with (O, C / groups, h, w)."""

    forward: Forward
    image_gradient: Gradient
    weight_gradient: Gradient


class Convolution(torch.autograd.Function):
    """``functional.conv2d`` by such kernels."""

    @staticmethod
    def forward(
        ctx: Any,
        kernels: Kernels,
        image: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Pair,
        padding: Pair,
    ) -> Tensor:
        """Return the convolution."""
        ctx.save_for_backward(image, weight)
        ctx.kernels, ctx.stride, ctx.padding = kernels, stride, padding
        return kernels.forward(image, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of what ``forward`` was given, where they are needed."""
        of_image, of_weight, of_bias = ctx.needs_input_grad[1:4]
        known = (*ctx.saved_tensors, ctx.stride, ctx.padding)
        with torch.autocast("cpu", enabled=False):
            return (
                None,
                ctx.kernels.image_gradient(grad, *known) if of_image else None,
                ctx.kernels.weight_gradient(grad, *known) if of_weight else None,
                grad.sum((0, 2, 3)) if of_bias else None,
                None,
                None,
            )


def onednn(
    image: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair
) -> Tensor:
    """Return the convolution as torch computes it."""
    groups = image.shape[1] // weight.shape[1]
    return functional.conv2d(image, weight, bias, stride, padding, 1, groups)


def of_onednn(
    grad: Tensor,
    image: Tensor,
    weight: Tensor,
    stride: Pair,
    padding: Pair,
    *,
    of_weight: bool = False,
) -> Tensor:
    """Return the gradient of the picture, or that of the weights, as torch computes them."""
    groups = image.shape[1] // weight.shape[1]
    return torch.ops.aten.convolution_backward(  # type: ignore[no-any-return]
        *(grad, image, weight, None, stride, padding, [1, 1], False, [0, 0], groups),
        [not of_weight, of_weight, False],
    )[int(of_weight)]


def map_size(
    image: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> list[int]:
    """Return height and width of a convolution's output."""
    sides = zip(image.shape[2:], kernel, stride, padding, strict=True)
    return [(side + 2 * pad - size) // step + 1 for side, size, step, pad in sides]


def nhwc(tensor: Tensor) -> Tensor:
    """Return a tensor with its channels last in memory."""
    return tensor.contiguous(memory_format=torch.channels_last)
