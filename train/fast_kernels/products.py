"""Convolutions of one group as products of matrices (ADRs 0037, 0039).

The matrices are what each place sees, (places, inputs x taps), and the weights. The gradient of
the weights is the product of the gradient, (places, outputs), with what each place sees; that of
the picture is a convolution of the gradient with the kernel turned by 180 degrees.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from .convolution import Kernels, Pair, map_size, of_onednn, onednn

__all__ = ["MANY_CHANNELS", "POINTWISE", "SMALL_MAP", "as_product"]

_CHANNELS_PER_PLACE: Final = 4
"""A map is small where it has at most a place for so many channels: there, and above 64 channels,
the product was never slower for the weights' gradient (64 to 512 channels, 12 to 108 places)."""
_MANY_CHANNELS_PER_PLACE: Final = 10
_MANY_WEIGHTS: Final = 900_000
"""With so many weights, and places for so few of the channels, the product was faster for the
convolution and both gradients (320 to 512 channels, 4 to 36 places); 256 to 512 channels on 27
places took a quarter longer for the picture's gradient."""
_MOST_PLACES: Final = 216
"""Largest map on which a 1x1 convolution is a product."""


def as_product(image: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Kernels | None:
    """Return how to compute a convolution of one group where oneDNN is slow; None where not."""
    out, into, *kernel = weight.shape
    places = math.prod(map_size(image, kernel, stride, padding))
    if max(kernel) == 1:
        plain = max(stride) == 1 and max(padding) == 0
        return POINTWISE if plain and places <= _MOST_PLACES else None
    channels = math.sqrt(out * into)
    if channels < _CHANNELS_PER_PLACE * places:
        return None
    inside = all(pad < side for pad, side in zip(padding, kernel, strict=True))
    many = channels >= _MANY_CHANNELS_PER_PLACE * places and weight.numel() >= _MANY_WEIGHTS
    if many and inside and max(stride) == 1 and _multiplies_tiles():
        return MANY_CHANNELS
    return SMALL_MAP


@cache
def _multiplies_tiles() -> bool:
    """Whether the processor has AMX; without it oneDNN's own convolutions are the faster ones."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


# ---- kernels of one place ---------------------------------------------------------------------


def _pointwise(image: Tensor, weight: Tensor, bias: Tensor | None, _: Pair, __: Pair) -> Tensor:
    return _picture(functional.linear(_rows(image), weight.flatten(1), bias), image.shape)


def _pointwise_image(grad: Tensor, image: Tensor, weight: Tensor, _: Pair, __: Pair) -> Tensor:
    return _picture(_rows(grad) @ weight.flatten(1), image.shape)


def _pointwise_weight(grad: Tensor, image: Tensor, weight: Tensor, _: Pair, __: Pair) -> Tensor:
    outputs, inputs = _rows(grad), _rows(image)
    # The product of a transposed matrix takes long where it is wide: the narrower one is copied.
    if 2 * inputs.shape[1] <= outputs.shape[1]:
        product = (inputs.t().contiguous() @ outputs).t()
    elif 2 * outputs.shape[1] <= inputs.shape[1]:
        product = outputs.t().contiguous() @ inputs
    else:
        product = outputs.t() @ inputs
    return product.reshape(weight.shape)


# ---- larger kernels ---------------------------------------------------------------------------


def _convolution(
    image: Tensor, weight: Tensor, bias: Tensor | None, _: Pair, padding: Pair
) -> Tensor:
    matrix = weight.permute(0, 2, 3, 1).flatten(1).t()  # (taps x inputs, outputs)
    return _by_patches(image, matrix, bias, weight.shape[2:], padding)


def _image_gradient(grad: Tensor, _: Tensor, weight: Tensor, __: Pair, padding: Pair) -> Tensor:
    kernel = weight.shape[2:]
    # (taps x outputs, inputs): memory of a channels-last weight that is copied in long runs.
    matrix = weight.flip(2, 3).permute(2, 3, 0, 1).flatten(0, 2)
    around = (kernel[0] - 1 - padding[0], kernel[1] - 1 - padding[1])
    return _by_patches(grad, matrix, None, kernel, around)


def _weight_gradient(
    grad: Tensor, image: Tensor, weight: Tensor, stride: Pair, padding: Pair
) -> Tensor:
    out, channels, height, width = weight.shape
    patches = _patches(image, (height, width), stride, padding, grad.shape[2:])
    # The product of a transposed matrix takes three times as long as its copy and that of the copy.
    product = _rows(grad).t().contiguous() @ patches
    return product.reshape(out, height, width, channels).permute(0, 3, 1, 2)


def _by_patches(
    image: Tensor, matrix: Tensor, bias: Tensor | None, kernel: Sequence[int], padding: Pair
) -> Tensor:
    """Return the convolution of stride 1 with weights (h * w * C, O)."""
    size = map_size(image, kernel, (1, 1), padding)
    patches = _patches(image, kernel, (1, 1), padding, size)
    rows = patches @ matrix if bias is None else torch.addmm(bias, patches, matrix)
    return _picture(rows, (len(image), matrix.shape[1], *size))


def _patches(
    image: Tensor, kernel: Sequence[int], stride: Pair, padding: Pair, size: Sequence[int]
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


# ---- pictures and matrices --------------------------------------------------------------------


def _rows(picture: Tensor) -> Tensor:
    """Return (N, C, h, w) as (N * h * w, C)."""
    return picture.permute(0, 2, 3, 1).reshape(-1, picture.shape[1])


def _picture(rows: Tensor, shape: Sequence[int]) -> Tensor:
    """Return (N * h * w, C) as (N, C, h, w) of a picture's N, h and w, its channels last."""
    count, _, height, width = shape
    return rows.view(count, height, width, -1).permute(0, 3, 1, 2)


POINTWISE: Final = Kernels(_pointwise, _pointwise_image, _pointwise_weight)
"""Kernels of one place, of stride 1."""
SMALL_MAP: Final = Kernels(onednn, of_onednn, _weight_gradient)
"""A map of few places."""
MANY_CHANNELS: Final = Kernels(_convolution, _image_gradient, _weight_gradient)
"""A map of very few places, of stride 1."""
