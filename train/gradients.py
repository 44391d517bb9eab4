"""Convolutions whose gradients in bfloat16 take as long as they should.

In bfloat16 on a CPU, oneDNN has fast kernels for most convolutions and their gradients, but not for
these (ADRs 0036, 0037):

- depthwise, the gradient of the picture where the stride is above 1, and that of the weights where
  the kernel is wider than 3: plain loops, 20 to 100 times as long as the convolution. The first
  is a convolution of the gradient, zeros put between its places, with the kernel turned by 180
  degrees; the second is put together from the weight gradients of 3x3 kernels, each at its place
  in the larger one.
- many channels on a small map, the gradient of the weights: up to 9 times as long as the product of
  two matrices, the gradient's and that of the patches which each place sees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["FastGradients"]

_PART: Final = 3
"""Largest depthwise kernel whose weight gradient is fast."""
_CHANNELS_PER_PLACE: Final = 4
"""A map is small where it has at most a place for so many channels: there, and above 64 channels,
the product of matrices was never slower (64 to 512 channels, 12 to 108 places)."""
_Pair = tuple[int, int]
_Gradient = Callable[[Tensor, Tensor, Tensor, _Pair, _Pair], Tensor]


class FastGradients(TorchFunctionMode):
    """Within this context, such convolutions get the gradients of this module.

    That is where autocast computes in bfloat16 on a CPU; all else stays as it is.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call ``func``, or a convolution with other gradients in its place."""
        kwargs = kwargs or {}
        if func is torch.conv2d and not kwargs and len(args) == 7:
            taken = _with_gradients_of_ours(*args)
            if taken is not None:
                image, weight, bias, stride, padding, _, _ = args
                parts = (
                    None if part is None else part.bfloat16() for part in (image, weight, bias)
                )
                return taken.apply(*parts, tuple(stride), tuple(padding))  # type: ignore[no-untyped-call]
        return func(*args, **kwargs)


def _with_gradients_of_ours(
    image: Tensor,
    weight: Tensor,
    _: Tensor | None,
    stride: _Pair,
    padding: str | _Pair,
    dilation: _Pair,
    groups: int,
) -> type[torch.autograd.Function] | None:
    """Return what to compute a convolution with for which oneDNN lacks a fast gradient."""
    if not torch.is_grad_enabled() or image.device.type != "cpu":
        return None
    if not torch.is_autocast_enabled("cpu") or torch.get_autocast_dtype("cpu") != torch.bfloat16:
        return None
    if isinstance(padding, str) or tuple(dilation) != (1, 1):
        return None
    if groups == 1:
        return _OnSmallMap if _is_on_small_map(image, weight, stride, padding) else None
    return _Depthwise if _is_slow_depthwise(image, weight, stride, padding, groups) else None


def _is_on_small_map(image: Tensor, weight: Tensor, stride: _Pair, padding: _Pair) -> bool:
    out, into, *kernel = weight.shape
    places = math.prod(_map(image, kernel, stride, padding))
    many = math.sqrt(out * into) >= _CHANNELS_PER_PLACE * places
    return many and max(kernel) > 1 and image.shape[1] == into


def _map(image: Tensor, kernel: Sequence[int], stride: _Pair, padding: _Pair) -> list[int]:
    """Return height and width of a convolution's output."""
    sides = zip(image.shape[2:], kernel, stride, padding, strict=True)
    return [(side + 2 * pad - size) // step + 1 for side, size, step, pad in sides]


def _is_slow_depthwise(
    image: Tensor, weight: Tensor, stride: _Pair, padding: _Pair, groups: int
) -> bool:
    sides = tuple(weight.shape[2:])
    if not groups == image.shape[1] == weight.shape[0] or weight.shape[1] != 1:
        return False
    if any(side % 2 == 0 or side < _PART for side in sides):
        return False
    inside = all(pad < side for side, pad in zip(sides, padding, strict=True))
    return inside and (max(stride) > 1 or max(sides) > _PART)


class _Convolution(torch.autograd.Function):
    """``functional.conv2d`` of (N, C, H, W) with (O, C / groups, h, w)."""

    @staticmethod
    def forward(
        ctx: Any, image: Tensor, weight: Tensor, bias: Tensor | None, stride: _Pair, padding: _Pair
    ) -> Tensor:
        ctx.save_for_backward(image, weight)
        ctx.stride, ctx.padding = stride, padding
        groups = image.shape[1] // weight.shape[1]
        return functional.conv2d(image, weight, bias, stride, padding, 1, groups)


def _gradients(
    ctx: Any, grad: Tensor, image_gradient: _Gradient, weight_gradient: _Gradient
) -> tuple[Tensor | None, ...]:
    """Return what ``_Convolution.forward``'s arguments need."""
    of_image, of_weight, of_bias = ctx.needs_input_grad[:3]
    known = (*ctx.saved_tensors, ctx.stride, ctx.padding)
    with torch.autocast("cpu", enabled=False):
        return (
            image_gradient(grad, *known) if of_image else None,
            weight_gradient(grad, *known) if of_weight else None,
            grad.sum((0, 2, 3)) if of_bias else None,
            None,
            None,
        )


class _OnSmallMap(_Convolution):
    """One group, on a map of few places."""

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _gradients(ctx, grad, _of_onednn, _gradient_by_patches)


def _gradient_by_patches(
    grad: Tensor, image: Tensor, weight: Tensor, stride: _Pair, padding: _Pair
) -> Tensor:
    """Return the gradient of the weights, (O, C, h, w), as one product of matrices."""
    out, channels, height, width = weight.shape
    count, rows, columns = len(image), *grad.shape[2:]
    around = (0, 0, padding[1], padding[1], padding[0], padding[0])
    padded = functional.pad(image.permute(0, 2, 3, 1), around).contiguous()
    step, row, place, _ = padded.stride()
    # The places of a kernel's row lie side by side, with all their channels.
    patches = padded.as_strided(
        (count, rows, columns, height, width * channels),
        (step, stride[0] * row, stride[1] * place, row, 1),
    ).reshape(count * rows * columns, height * width * channels)
    product = grad.permute(0, 2, 3, 1).reshape(-1, out).t() @ patches
    return product.reshape(out, height, width, channels).permute(0, 3, 1, 2)


class _Depthwise(_Convolution):
    """A group for every channel."""

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _gradients(ctx, grad, _image_gradient, _weight_gradient)


def _image_gradient(
    grad: Tensor, image: Tensor, weight: Tensor, stride: _Pair, padding: _Pair
) -> Tensor:
    size = [
        side + 2 * pad - kernel + 1
        for side, pad, kernel in zip(image.shape[2:], padding, weight.shape[2:], strict=True)
    ]
    spread = grad
    if max(stride) > 1:
        spread = _nhwc(grad.new_zeros((*grad.shape[:2], *size)))
        spread[:, :, :: stride[0], :: stride[1]] = grad
    around = [kernel - 1 - pad for pad, kernel in zip(padding, weight.shape[2:], strict=True)]
    return functional.conv2d(spread, weight.flip(2, 3), None, 1, around, 1, len(weight))


def _weight_gradient(
    grad: Tensor, image: Tensor, weight: Tensor, stride: _Pair, padding: _Pair
) -> Tensor:
    """Return the gradient of the weights, (C, 1, h, w), in parts of 3x3."""
    height, width = weight.shape[2:]
    padded = image
    if (height, width) != (_PART, _PART):
        padded = functional.pad(image, (padding[1], padding[1], padding[0], padding[0]))
        padding = (0, 0)
    reach = [step * (side - 1) + _PART for step, side in zip(stride, grad.shape[2:], strict=True)]
    found = torch.empty_like(weight)
    part = _nhwc(weight[:, :, :_PART, :_PART])
    for top in range(0, height - 1, _PART - 1):
        for left in range(0, width - 1, _PART - 1):
            seen = padded
            if padded is not image:
                seen = _nhwc(padded[:, :, top : top + reach[0], left : left + reach[1]])
            found[:, :, top : top + _PART, left : left + _PART] = _of_onednn(
                grad, seen, part, stride, padding, of_weight=True
            )
    return found


def _of_onednn(
    grad: Tensor,
    image: Tensor,
    weight: Tensor,
    stride: _Pair,
    padding: _Pair,
    *,
    of_weight: bool = False,
) -> Tensor:
    """Return the gradient of the picture, or that of the weights."""
    groups = image.shape[1] // weight.shape[1]
    return torch.ops.aten.convolution_backward(  # type: ignore[no-any-return]
        *(grad, image, weight, None, stride, padding, [1, 1], False, [0, 0], groups),
        [not of_weight, of_weight, False],
    )[int(of_weight)]


def _nhwc(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)
