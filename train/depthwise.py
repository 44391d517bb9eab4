"""Depthwise convolutions whose gradients in bfloat16 take as long as they should.

In bfloat16 on a CPU, oneDNN has fast kernels for a depthwise convolution itself, but computes two
of its gradients by plain loops: that of the picture where the stride is above 1, and that of the
weights where the kernel is wider than 3. Either takes 20 to 100 times as long as the convolution
(ADR 0036). Both can be had from kernels that are fast: the first is a convolution of the gradient,
zeros put between its places, with the kernel turned by 180 degrees; the second is put together from
the weight gradients of 3x3 kernels, each at its place in the larger one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["FastDepthwise"]

_PART: Final = 3
"""Largest kernel whose weight gradient is fast."""
_Pair = tuple[int, int]


class FastDepthwise(TorchFunctionMode):
    """Within this context, slow depthwise convolutions get the gradients of this module.

    That is those which autocast computes in bfloat16 on a CPU; all else stays as it is.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call ``func``, or a depthwise convolution in its place."""
        kwargs = kwargs or {}
        if func is torch.conv2d and not kwargs and len(args) == 7:
            image, weight, bias, stride, padding, dilation, groups = args
            if _is_slow(image, weight, stride, padding, dilation, groups):
                parts = (
                    None if part is None else part.bfloat16() for part in (image, weight, bias)
                )
                return _Depthwise.apply(*parts, tuple(stride), tuple(padding))  # type: ignore[no-untyped-call]
        return func(*args, **kwargs)


def _is_slow(
    image: Tensor, weight: Tensor, stride: _Pair, padding: str | _Pair, dilation: _Pair, groups: int
) -> bool:
    """Whether this convolution will want a gradient for which oneDNN has no fast kernel."""
    if groups == 1 or not torch.is_grad_enabled() or image.device.type != "cpu":
        return False
    if not torch.is_autocast_enabled("cpu") or torch.get_autocast_dtype("cpu") != torch.bfloat16:
        return False
    sides = tuple(weight.shape[2:])
    if isinstance(padding, str) or tuple(dilation) != (1, 1):
        return False
    if not groups == image.shape[1] == weight.shape[0] or weight.shape[1] != 1:
        return False
    if any(side % 2 == 0 or side < _PART for side in sides):
        return False
    inside = all(pad < side for side, pad in zip(sides, padding, strict=True))
    return inside and (max(stride) > 1 or max(sides) > _PART)


class _Depthwise(torch.autograd.Function):
    """``functional.conv2d`` of (N, C, H, W) with (C, 1, h, w), a group for every channel."""

    @staticmethod
    def forward(
        ctx: Any, image: Tensor, weight: Tensor, bias: Tensor | None, stride: _Pair, padding: _Pair
    ) -> Tensor:
        ctx.save_for_backward(image, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(image, weight, bias, stride, padding, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        image, weight = ctx.saved_tensors
        of_image, of_weight, of_bias = ctx.needs_input_grad[:3]
        shape = (image, weight, ctx.stride, ctx.padding)
        with torch.autocast("cpu", enabled=False):
            return (
                _image_gradient(grad, *shape) if of_image else None,
                _weight_gradient(grad, *shape) if of_weight else None,
                grad.sum((0, 2, 3)) if of_bias else None,
                None,
                None,
            )


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
            found[:, :, top : top + _PART, left : left + _PART] = _gradient_of_part(
                grad, seen, part, stride, padding
            )
    return found


def _gradient_of_part(
    grad: Tensor, image: Tensor, part: Tensor, stride: _Pair, padding: _Pair
) -> Tensor:
    asked = [False, True, False]
    return torch.ops.aten.convolution_backward(  # type: ignore[no-any-return]
        grad, image, part, None, stride, padding, [1, 1], False, [0, 0], len(part), asked
    )[1]


def _nhwc(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)
