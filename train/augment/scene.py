"""Changes to what the camera looks at: colours and exposure, uneven light, dirt."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from .draws import Draws

__all__ = ["erase", "recolour", "shade"]

_LUMA: Final = (0.114, 0.587, 0.299)
"""Weights of blue, green and red, ITU-R BT.601."""


def recolour(images: Tensor, strength: float, draws: Draws) -> Tensor:
    """Change gamma, contrast, brightness, colour cast and saturation.

    Args:
        images: (N, H, W, 3) uint8 BGR.
        strength: In [0, 1].
        draws: Random numbers.

    Returns:
        (N, 3, H, W) float32; 0 is black and 255 white, values beyond both are kept.
    """
    values = images.permute(0, 3, 1, 2)
    if not strength:
        return values.float().contiguous()
    gamma = draws.normal(0.35 * strength, 1, 1).exp()
    gain = (draws.normal(0.3 * strength, 1, 1) + draws.normal(0.12 * strength, 3, 1)).exp()
    offset = draws.normal(0.08 * strength, 1, 1)
    saturation = draws.normal(0.3 * strength, 1, 1, 1).exp()
    # A curve per channel and crop, looked up: 256 powers instead of one for every pixel.
    levels = torch.linspace(0, 1, 256, device=images.device)
    curves = ((levels**gamma - 0.5) * gain + 0.5 + offset) * 255  # (N, 3, 256)
    looked_up = curves.gather(2, values.flatten(2).long()).view(values.shape)
    blue, green, red = (looked_up[:, k : k + 1] * weight for k, weight in enumerate(_LUMA))
    grey = blue.add_(green).add_(red)
    return looked_up.sub_(grey).mul_(saturation).add_(grey)


def shade(values: Tensor, probability: float, draws: Draws) -> Tensor:
    """Darken one side of some crops, with a soft or a sharp border, and let half of them shine.

    Args:
        values: (N, 3, H, W) float32, changed in place.
        probability: That a crop is chosen.
        draws: Random numbers.
    """
    if not probability:
        return values
    (lit,) = draws.chosen(probability)
    angle, depth = lit.uniform(0, 2 * torch.pi, 1, 1), lit.uniform(0.1, 0.5, 1, 1)
    border, softness = lit.uniform(-0.7, 0.7, 1, 1), lit.uniform(0.03, 0.6, 1, 1)
    centre, reach = lit.uniform(-1, 1, 2, 1, 1), lit.uniform(0.15, 0.6, 1, 1)
    shine = lit.uniform(-100, 100, 1, 1).clamp(min=0)
    x, y = _grid(values)
    side = (x * angle.cos() + y * angle.sin() - border) / softness
    shadow = 1 - depth * side.sigmoid()
    distance = ((x - centre[:, 0]) ** 2 + (y - centre[:, 1]) ** 2) / reach**2
    glare = shine * (-distance).exp()
    crops = values.index_select(0, lit.rows)
    return values.index_copy_(0, lit.rows, crops * shadow[:, None] + glare[:, None])


def erase(values: Tensor, probability: float, area: float, draws: Draws) -> Tensor:
    """Paint a rectangle of one colour over some crops.

    Random erasing, Zhong et al. 2020, section 3.2, with patches that may not be more than three
    times as long as wide and a colour instead of noise.

    Args:
        values: (N, 3, H, W) float32, changed in place.
        probability: That a crop is chosen.
        area: Largest share of the crop that the patch covers.
        draws: Random numbers.
    """
    if not probability:
        return values
    (dirty,) = draws.chosen(probability)
    height, width = values.shape[2:]
    size_px = (dirty.uniform(0.15, 1, 1) * area * height * width).sqrt()
    stretch = dirty.uniform(-0.55, 0.55, 1).exp()
    # Half of the patch on each side of its centre, which lies anywhere in the crop.
    half = torch.cat([size_px * stretch, size_px / stretch], 1)[..., None] / 2  # (K, 2, 1)
    centre = dirty.uniform(0, 1, 2, 1) * half.new_tensor([[height], [width]])
    y, x = (torch.arange(side, device=values.device) + 0.5 for side in (height, width))
    across = (x - centre[:, 1]).abs() < half[:, 1]  # (K, W)
    down = (y - centre[:, 0]).abs() < half[:, 0]  # (K, H)
    inside = (down[:, :, None] & across[:, None, :])[:, None]
    crops = values.index_select(0, dirty.rows)
    painted = torch.where(inside, dirty.uniform(0, 255, 3, 1, 1), crops)
    return values.index_copy_(0, dirty.rows, painted)


def _grid(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return x as (1, 1, W) and y as (1, H, 1), both from -1 to 1."""
    height, width = values.shape[2:]
    x = torch.linspace(-1, 1, width, device=values.device)
    y = torch.linspace(-1, 1, height, device=values.device)
    return x[None, None, :], y[None, :, None]
