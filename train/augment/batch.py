"""The one function that changes a batch of training crops."""

from __future__ import annotations

import torch
from torch import Tensor

from runtime.errors import ConfigError

from .camera import add_noise, blur, store
from .config import AugmentConfig
from .draws import Draws, draws_of
from .scene import erase, recolour, shade
from .view import flip, warp

__all__ = ["augment_batch"]


@torch.no_grad()
def augment_batch(
    images: Tensor,
    config: AugmentConfig,
    *,
    seed: int,
    step: int,
    rows: tuple[int, int],
    batch: int,
) -> Tensor:
    """Return randomly changed copies of a step's crops.

    What becomes of a row depends on ``seed``, ``step``, its place in the global batch, ``config``
    and its crop alone: neither on the other crops, nor on how many processes share the batch, nor
    on threads. The global generators of torch and numpy are left alone.

    Args:
        images: (stop - start, H, W, 3) uint8 BGR on any device; not changed.
        config: How strongly.
        seed: Of the training.
        step: Of the training, from 0.
        rows: (start, stop), the places of ``images`` in the global batch.
        batch: Crops in the global batch.

    Returns:
        Same shape, type and device.

    Raises:
        ConfigError: the shape, type or rows are not as above.
    """
    _check(images, rows, batch)

    def draws(change: int) -> Draws:
        return draws_of(change, seed=seed, step=step, rows=rows, batch=batch, device=images.device)

    # Convolutions in bfloat16, as a training may ask for, would leave 8 bits of the pixels.
    with torch.autocast(images.device.type, enabled=False):
        images = flip(images, config.flip, draws(0))
        values = recolour(images, config.colour, draws(1))
        values = shade(values, config.light, draws(2))
        values = erase(values, config.erase, config.erase_area, draws(3))
        values = warp(
            values, draws(4), geometry=config.geometry, tilt=config.tilt, crop=config.crop
        )
        values = blur(values, config.blur, draws(5))
        values = add_noise(values, config.noise, draws(6))
        changed = values.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        return store(changed, config.resolution, config.jpeg, draws(7))


def _check(images: Tensor, rows: tuple[int, int], batch: int) -> None:
    start, stop = rows
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise ConfigError(
            f"crops to augment must be (N, H, W, 3) uint8, got {tuple(images.shape)} {images.dtype}"
        )
    if not 0 <= start < stop <= batch or stop - start != len(images):
        raise ConfigError(
            f"{len(images)} crops cannot be rows {start} to {stop} of a batch of {batch}; expected "
            "0 <= start < stop <= batch and stop - start crops"
        )
