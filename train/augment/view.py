"""Changes to how the crop lies in the picture: flip, box, perspective."""

from __future__ import annotations

import math
from typing import Final

import torch
from kornia.geometry.transform import get_perspective_transform, warp_perspective
from torch import Tensor

from .draws import Draws

__all__ = ["flip", "warp"]

_SLANT: Final = 0.5
"""Largest drop over the width and largest lean of the uprights, in heights."""


def flip(images: Tensor, probability: float, draws: Draws) -> Tensor:
    """Mirror some crops, (N, H, W, 3), left and right."""
    if not probability:
        return images
    (turned,) = draws.chosen(probability)
    mirrored = images.index_select(0, turned.rows).flip(2)
    return images.index_copy(0, turned.rows, mirrored)


def warp(
    values: Tensor, draws: Draws, *, geometry: float = 0, tilt: float = 0, crop: float = 0
) -> Tensor:
    """Cut a box out of each crop and see it under another perspective, in one resampling.

    Args:
        values: (N, 3, H, W) float32.
        draws: Random numbers.
        geometry: Strength in [0, 1]; one crop in ten keeps its perspective.
        tilt: Probability of a slant, in [0, 1].
        crop: Strength in [0, 1].

    Returns:
        (N, 3, H, W) float32; what lies outside the crop repeats its border.
    """
    if not (geometry or tilt or crop):
        return values
    height, width = values.shape[2:]
    size = values.new_tensor([width - 1, height - 1])
    unit = values.new_tensor([[0, 0], [1, 0], [1, 1], [0, 1]])  # clockwise from the top left
    box = _boxes(unit, crop, draws)
    moved = unit + _displacements(0.12 * geometry, draws)
    moved = _slanted(moved, tilt, height / width, draws).expand_as(box)
    matrix = get_perspective_transform(box * size, moved * size)
    return warp_perspective(values, matrix, (height, width), padding_mode="border")


def _boxes(unit: Tensor, strength: float, draws: Draws) -> Tensor:
    """Return the (N, 4, 2) corners of boxes inside the unit square (Szegedy et al. 2015)."""
    area = draws.uniform(1 - 0.7 * strength, 1, 1)
    stretch = draws.uniform(-math.log(4 / 3), math.log(4 / 3), 1) * strength
    # Where the stretch would make a side longer than the crop's, it becomes the crop's.
    sides = torch.cat([(area * stretch.exp()).sqrt(), (area / stretch.exp()).sqrt()], 1)
    sides = sides.clamp(max=1)  # (N, 2)
    start = draws.uniform(0, 1, 2) * (1 - sides)
    return start[:, None] + unit * sides[:, None]


def _displacements(reach: float, draws: Draws) -> Tensor:
    """Return how far corners move, (N, 4, 2), as a share of the sides."""
    # A joint shift of all corners and an own one for each; the width is moved half as much,
    # so that the outer characters stay inside.
    shares = draws.uniform(-1, 1, 4, 2) + draws.uniform(-0.5, 0.5, 1, 2)
    still = draws.uniform(0, 1, 1, 1) < 0.1
    return torch.where(still, 0, shares) * shares.new_tensor([0.5, 1.0]) * reach


def _slanted(corners: Tensor, probability: float, aspect: float, draws: Draws) -> Tensor:
    """Shear some quadrangles, (N, 4, 2), both ways and shrink them back into the unit square.

    Args:
        corners: As shares of the sides.
        probability: Of a slant.
        aspect: Height over width of the crop.
        draws: Random numbers.
    """
    amount = draws.uniform(-_SLANT, _SLANT, 1, 2) * corners.new_tensor([aspect, 1.0])
    amount = torch.where(draws.uniform(0, 1, 1, 1) < probability, amount, 0)
    centred = corners - 0.5
    # x moves with y and y with x.
    sheared = centred + centred.flip(-1) * amount
    return sheared / (1 + amount.abs()) + 0.5
