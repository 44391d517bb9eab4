"""Changes by the camera and the file: blur, sensor noise, resolution, compression."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import cv2
import numpy as np
import torch
from kornia.filters import gaussian_blur2d, motion_blur
from torch import Tensor

from runtime.arrays import Image

from .draws import Draws

__all__ = ["add_noise", "blur", "store"]

_REFERENCE_PX: Final = 83
"""Mean side, root of the area, of the crops (48x144 px) that the lengths below are for."""
_SIGMA_PX: Final = (0.5, 1.6)
_MOTIONS_PX: Final = (3, 5, 7)


def blur(values: Tensor, probability: float, draws: Draws) -> Tensor:
    """Defocus some crops and shake the camera for as many others.

    Args:
        values: (N, 3, H, W) float32, changed in place.
        probability: That a crop is chosen.
        draws: Random numbers.
    """
    if not probability:
        return values
    scale = math.sqrt(math.prod(values.shape[2:])) / _REFERENCE_PX
    # One length for all crops of a step: every length is a convolution of its own.
    length_px = draws.one_of(_MOTIONS_PX)
    defocused, shaken = draws.chosen(probability / 2, probability / 2)
    sigma = defocused.uniform(*_SIGMA_PX, 1).expand(-1, 2) * scale
    angle = shaken.uniform(0, 180)
    if len(defocused):
        size = 2 * math.ceil(3 * _SIGMA_PX[1] * scale) + 1
        crops = values.index_select(0, defocused.rows)
        soft = gaussian_blur2d(crops, size, sigma, "replicate")
        values.index_copy_(0, defocused.rows, soft)
    if len(shaken):
        size = 2 * max(1, round(length_px * scale / 2 - 0.5)) + 1
        crops = values.index_select(0, shaken.rows)
        streaked = motion_blur(crops, size, angle, torch.zeros_like(angle), "replicate")
        values.index_copy_(0, shaken.rows, streaked)
    return values


def add_noise(values: Tensor, probability: float, draws: Draws) -> Tensor:
    """Add normal noise, of 2 to 14 levels and independent between pixels, to some crops.

    Args:
        values: (N, 3, H, W) float32, changed in place.
        probability: That a crop is chosen.
        draws: Random numbers.
    """
    if not probability:
        return values
    height, width = values.shape[2:]
    # One field for the step, of which each crop takes a window: numbers for every pixel of a
    # global batch would cost more than all other changes.
    noise = draws.field(2 * height, 2 * width, 3)
    (noisy,) = draws.chosen(probability)
    start = noisy.uniform(0, 1, 2)
    top_left = (start * start.new_tensor([height, width])).long()
    y = top_left[:, 0, None] + torch.arange(height, device=values.device)  # (K, H)
    x = top_left[:, 1, None] + torch.arange(width, device=values.device)  # (K, W)
    windows = noise[y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2)
    crops = values.index_select(0, noisy.rows)
    return values.index_copy_(0, noisy.rows, crops + windows * noisy.uniform(2, 14, 1, 1, 1))


def store(images: Tensor, resolution: float, jpeg: float, draws: Draws) -> Tensor:
    """Store some crops coarser, or as JPEG, or both, and read them again.

    OpenCV does both: the codec that made most pictures, several times faster on a processor than
    a differentiable one, and exact to the bit. From a GPU the chosen crops travel and come back.

    Args:
        images: (N, H, W, 3) uint8 BGR, changed in place.
        resolution: Probability of a coarser resolution, 40 to 80 % of the crop's.
        jpeg: Probability of JPEG, quality 30 to 90.
        draws: Random numbers.
    """
    draws = replace(draws, device=torch.device("cpu"))
    (coarser,), (compressed,) = draws.chosen(resolution), draws.chosen(jpeg)
    factors, qualities = torch.ones(len(images)), torch.full((len(images),), 100.0)
    factors[coarser.rows] = coarser.uniform(0.4, 0.8)
    qualities[compressed.rows] = compressed.uniform(30, 90)
    rows = ((factors < 1) | (qualities < 100)).nonzero().flatten()
    if not len(rows):
        return images
    there = rows.to(images.device)
    stored = [
        _stored(crop, factor, int(quality))
        for crop, factor, quality in zip(
            images.index_select(0, there).cpu().numpy(),
            factors[rows].tolist(),
            qualities[rows].tolist(),
            strict=True,
        )
    ]
    return images.index_copy_(0, there, torch.from_numpy(np.stack(stored)).to(images.device))


def _stored(image: Image, factor: float, quality: int) -> Image:
    """Return the crop as it is after ``factor`` of its resolution and, below 100, JPEG."""
    height, width = image.shape[:2]
    if factor < 1:
        small = (max(8, round(width * factor)), max(8, round(height * factor)))
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    if quality < 100:
        _, file = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))
        image = cv2.imdecode(file, cv2.IMREAD_COLOR)  # type: ignore[assignment]
    if factor < 1:
        image = cv2.resize(image, (width, height))  # type: ignore[assignment]
    return image
