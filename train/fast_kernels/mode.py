"""The context in which slow operations are replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .convolution import Convolution, Kernels, Pair
from .depthwise import DEPTHWISE, is_slow
from .means import MeanOverPlaces, is_over_places
from .products import as_product

__all__ = ["FastKernels"]


class FastKernels(TorchFunctionMode):
    """Within this context, operations that oneDNN computes slowly are computed by this package.

    That is where autocast computes in bfloat16 on a CPU, in training; all else stays as it is.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call ``func``, or an operation of this package in its place."""
        kwargs = kwargs or {}
        if func in (torch.mean, Tensor.mean):
            if is_over_places(args, kwargs) and _learns_in_bf16(args[0]):
                return MeanOverPlaces.apply(args[0])  # type: ignore[no-untyped-call]
        elif func is torch.conv2d and not kwargs and len(args) == 7:
            image, weight, bias, *sides, groups = args
            stride, padding, dilation = map(_pair, sides)
            kernels = _kernels(image, weight, stride, padding, dilation, groups)
            if kernels is not None:
                parts = (
                    None if part is None else part.bfloat16() for part in (image, weight, bias)
                )
                return Convolution.apply(kernels, *parts, stride, padding)  # type: ignore[no-untyped-call]
        return func(*args, **kwargs)


def _kernels(
    image: Tensor,
    weight: Tensor,
    stride: Pair,
    padding: str | Pair,
    dilation: Pair,
    groups: int,
) -> Kernels | None:
    """Return how to compute a convolution where oneDNN is slow; None where it is not."""
    if not _learns_in_bf16(image) or image.ndim != 4:
        return None
    if isinstance(padding, str) or dilation != (1, 1):
        return None
    if groups == 1 and image.shape[1] == weight.shape[1]:
        return as_product(image, weight, stride, padding)
    return DEPTHWISE if is_slow(image, weight, stride, padding, groups) else None


def _pair(value: str | int | Sequence[int]) -> Any:
    """Return a number, or the one or two numbers of a sequence, as a pair; texts as they are."""
    if isinstance(value, str):
        return value
    sides = (value,) if isinstance(value, int) else tuple(value)
    return sides * 2 if len(sides) == 1 else sides


def _learns_in_bf16(image: Tensor) -> bool:
    """Whether a training on a CPU computes with this in bfloat16."""
    if not torch.is_grad_enabled() or image.device.type != "cpu":
        return False
    bf16 = torch.is_autocast_enabled("cpu")
    return bf16 and torch.get_autocast_dtype("cpu") == torch.bfloat16
