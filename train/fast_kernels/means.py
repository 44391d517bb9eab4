"""Means over places whose gradient lies in memory as their picture does (ADR 0039)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from .convolution import nhwc

__all__ = ["MeanOverPlaces", "is_over_places"]

_KEPT: Final = {"keepdim": True}


def is_over_places(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a mean is over height and width of pictures whose channels are last in memory."""
    if len(args) != 2 or args[1] not in ((2, 3), [2, 3]) or kwargs != _KEPT:
        return False
    image = args[0]
    return bool(image.ndim == 4 and image.is_contiguous(memory_format=torch.channels_last))


class MeanOverPlaces(torch.autograd.Function):
    """``mean((2, 3), keepdim=True)`` of (N, C, H, W)."""

    @staticmethod
    def forward(ctx: Any, image: Tensor) -> Tensor:
        """Return (N, C, 1, 1)."""
        ctx.shape = image.shape
        return image.mean((2, 3), keepdim=True)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Return (N, C, H, W), channels last."""
        return nhwc((grad / math.prod(ctx.shape[2:])).expand(ctx.shape))
