"""What takes longer in bfloat16 on a CPU than it should, in training.

oneDNN has fast kernels for most convolutions and their gradients, but not for these (ADRs 0036,
0037, 0039):

- depthwise, the gradient of the picture where the stride is above 1, and that of the weights where
  the kernel is wider than 3: plain loops, 20 to 100 times as long as the convolution. The first
  is a convolution of the gradient, zeros put between its places, with the kernel turned by 180
  degrees; the second is put together from the weight gradients of 3x3 kernels, each at its place
  in the larger one.
- many channels on a small map, the gradient of the weights: up to 13 times as long as the product
  of two matrices, the gradient's and that of the patches which each place sees. Where the channels
  are so many that the weights do not stay in the processor's cache, the convolution itself and the
  gradient of the picture are slower than such a product, too, where the processor has AMX.
- 1x1, which is a product of matrices as it stands: up to five times as long, on all but large maps.

And torch gives the gradient of a mean over places to a picture whose channels are last in memory as
one whose channels are first, so that adding other gradients to it jumps through memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["FastKernels"]

_PART: Final = 3
"""Largest depthwise kernel whose weight gradient is fast."""
_CHANNELS_PER_PLACE: Final = 4
"""A map is small where it has at most a place for so many channels: there, and above 64 channels,
the product was never slower for the weights' gradient (64 to 512 channels, 12 to 108 places)."""
_CHANNELS_PER_PLACE_THROUGHOUT: Final = 10
_WEIGHTS_BEYOND_CACHE: Final = 900_000
"""With so many weights, and places for so few of the channels, the product was never slower for
the convolution and both gradients (256 to 512 channels, 4 to 144 places)."""
_PLACES_OF_PRODUCTS: Final = 216
"""Largest map on which a 1x1 convolution is a product."""
_KEPT: Final = {"keepdim": True}
_Pair = tuple[int, int]
_Gradient = Callable[[Tensor, Tensor, Tensor, _Pair, _Pair], Tensor]


class FastKernels(TorchFunctionMode):
    """Within this context, such operations are computed by this module, in training.

    That is where autocast computes in bfloat16 on a CPU; all else stays as it is.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call ``func``, or an operation of this module in its place."""
        kwargs = kwargs or {}
        if func in (torch.mean, Tensor.mean) and _is_over_places(args, kwargs):
            return _MeanOverPlaces.apply(args[0])  # type: ignore[no-untyped-call]
        if func is torch.conv2d and not kwargs and len(args) == 7:
            taken = _ours(*args)
            if taken is not None:
                image, weight, bias, stride, padding, _, _ = args
                parts = (
                    None if part is None else part.bfloat16() for part in (image, weight, bias)
                )
                return taken.apply(*parts, tuple(stride), tuple(padding))  # type: ignore[no-untyped-call]
        return func(*args, **kwargs)


def _ours(
    image: Tensor,
    weight: Tensor,
    _: Tensor | None,
    stride: _Pair,
    padding: str | _Pair,
    dilation: _Pair,
    groups: int,
) -> type[torch.autograd.Function] | None:
    """Return what to compute a convolution with for which oneDNN is slow; None where it is not."""
    if not _learns_in_bf16(image) or image.ndim != 4:
        return None
    if isinstance(padding, str) or tuple(dilation) != (1, 1):
        return None
    if groups == 1 and image.shape[1] == weight.shape[1]:
        return _as_product(image, weight, stride, padding)
    return _Depthwise if _is_slow_depthwise(image, weight, stride, padding, groups) else None


def _learns_in_bf16(image: Tensor) -> bool:
    """Whether a training on a CPU computes with this in bfloat16."""
    if not torch.is_grad_enabled() or image.device.type != "cpu":
        return False
    bf16 = torch.is_autocast_enabled("cpu")
    return bf16 and torch.get_autocast_dtype("cpu") == torch.bfloat16


def _as_product(
    image: Tensor, weight: Tensor, stride: _Pair, padding: _Pair
) -> type[torch.autograd.Function] | None:
    out, into, *kernel = weight.shape
    places = math.prod(_map(image, kernel, stride, padding))
    if max(kernel) == 1:
        plain = max(stride) == 1 and max(padding) == 0
        return _Pointwise if plain and places <= _PLACES_OF_PRODUCTS else None
    channels = math.sqrt(out * into)
    if channels < _CHANNELS_PER_PLACE * places:
        return None
    many = channels >= _CHANNELS_PER_PLACE_THROUGHOUT * places
    inside = all(pad < side for pad, side in zip(padding, kernel, strict=True))
    large = weight.numel() >= _WEIGHTS_BEYOND_CACHE
    if many and inside and max(stride) == 1 and large and _multiplies_tiles():
        return _OfManyChannels
    return _OnSmallMap


@cache
def _multiplies_tiles() -> bool:
    """Whether the processor has AMX; without it oneDNN's own convolutions are the faster ones."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


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


class _Pointwise(torch.autograd.Function):
    """A kernel of one place, of stride 1."""

    @staticmethod
    def forward(
        ctx: Any, image: Tensor, weight: Tensor, bias: Tensor | None, stride: _Pair, padding: _Pair
    ) -> Tensor:
        ctx.save_for_backward(image, weight)
        ctx.stride, ctx.padding = stride, padding
        return _picture(functional.linear(_rows(image), weight.flatten(1), bias), image.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _gradients(ctx, grad, _image_by_product, _weight_by_product)


def _image_by_product(grad: Tensor, image: Tensor, weight: Tensor, *_: _Pair) -> Tensor:
    return _picture(_rows(grad) @ weight.flatten(1), image.shape)


def _weight_by_product(grad: Tensor, image: Tensor, weight: Tensor, *_: _Pair) -> Tensor:
    outputs, inputs = _rows(grad), _rows(image)
    # The product of a transposed matrix takes long where it is wide: the narrower one is copied.
    if 2 * inputs.shape[1] <= outputs.shape[1]:
        product = (inputs.t().contiguous() @ outputs).t()
    elif 2 * outputs.shape[1] <= inputs.shape[1]:
        product = outputs.t().contiguous() @ inputs
    else:
        product = outputs.t() @ inputs
    return product.reshape(weight.shape)


class _OnSmallMap(_Convolution):
    """One group, on a map of few places."""

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _gradients(ctx, grad, _of_onednn, _weight_by_patches)


class _OfManyChannels(torch.autograd.Function):
    """One group, on a map of very few places, of stride 1."""

    @staticmethod
    def forward(
        ctx: Any, image: Tensor, weight: Tensor, bias: Tensor | None, stride: _Pair, padding: _Pair
    ) -> Tensor:
        ctx.save_for_backward(image, weight)
        ctx.stride, ctx.padding = stride, padding
        # (taps x inputs, outputs)
        matrix = weight.permute(0, 2, 3, 1).flatten(1).t()
        return _by_patches(image, matrix, bias, weight.shape[2:], padding)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _gradients(ctx, grad, _image_by_patches, _weight_by_patches)


def _by_patches(
    image: Tensor, matrix: Tensor, bias: Tensor | None, kernel: Sequence[int], padding: _Pair
) -> Tensor:
    """Return the convolution of stride 1 with weights (h * w * C, O) as one product of matrices."""
    size = _map(image, kernel, (1, 1), padding)
    patches = _patches(image, kernel, (1, 1), padding, size)
    rows = patches @ matrix if bias is None else torch.addmm(bias, patches, matrix)
    return _picture(rows, (len(image), matrix.shape[1], *size))


def _image_by_patches(grad: Tensor, _: Tensor, weight: Tensor, __: _Pair, padding: _Pair) -> Tensor:
    kernel = weight.shape[2:]
    # (taps x outputs, inputs): memory of a channels-last weight that is copied in long runs.
    matrix = weight.flip(2, 3).permute(2, 3, 0, 1).flatten(0, 2)
    around = (kernel[0] - 1 - padding[0], kernel[1] - 1 - padding[1])
    return _by_patches(grad, matrix, None, kernel, around)


def _weight_by_patches(
    grad: Tensor, image: Tensor, weight: Tensor, stride: _Pair, padding: _Pair
) -> Tensor:
    """Return the gradient of the weights, (O, C, h, w), as one product of matrices."""
    out, channels, height, width = weight.shape
    patches = _patches(image, (height, width), stride, padding, grad.shape[2:])
    # The product of a transposed matrix takes three times as long as its copy and that of the copy.
    product = _rows(grad).t().contiguous() @ patches
    return product.reshape(out, height, width, channels).permute(0, 3, 1, 2)


def _patches(
    image: Tensor, kernel: Sequence[int], stride: _Pair, padding: _Pair, size: Sequence[int]
) -> Tensor:
    """Return what each of ``size`` places sees, (N * places, h * w * C)."""
    around = (0, 0, padding[1], padding[1], padding[0], padding[0])
    padded = functional.pad(image.permute(0, 2, 3, 1), around).contiguous()
    channels = image.shape[1]
    step, row, place, _ = padded.stride()
    # The places of a kernel's row lie side by side, with all their channels.
    seen = (len(image), *size, kernel[0], kernel[1] * channels)
    strides = (step, stride[0] * row, stride[1] * place, row, 1)
    return padded.as_strided(seen, strides).reshape(-1, math.prod(seen[3:]))


def _rows(picture: Tensor) -> Tensor:
    """Return (N, C, h, w) as (N * h * w, C)."""
    return picture.permute(0, 2, 3, 1).reshape(-1, picture.shape[1])


def _picture(rows: Tensor, shape: Sequence[int]) -> Tensor:
    """Return (N * h * w, C) as (N, C, h, w) of a picture's N, h and w, its channels last."""
    count, _, height, width = shape
    return rows.view(count, height, width, -1).permute(0, 3, 1, 2)


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


# ---- means over places ------------------------------------------------------------------------


def _is_over_places(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a mean is over height and width of pictures whose channels are last in memory."""
    if len(args) != 2 or tuple(args[1:]) not in (((2, 3),), ([2, 3],)) or kwargs != _KEPT:
        return False
    image = args[0]
    last = image.ndim == 4 and image.is_contiguous(memory_format=torch.channels_last)
    return last and _learns_in_bf16(image)


class _MeanOverPlaces(torch.autograd.Function):
    """``mean((2, 3), keepdim=True)`` of (N, C, H, W)."""

    @staticmethod
    def forward(ctx: Any, image: Tensor) -> Tensor:
        ctx.shape = image.shape
        return image.mean((2, 3), keepdim=True)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _nhwc((grad / math.prod(ctx.shape[2:])).expand(ctx.shape))
