"""Blur, noise, resolution and compression."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.unit.train.augment.crops import chequered, draws, plain
from train.augment.camera import add_noise, blur, store


def roughness(values: Tensor) -> Tensor:
    """Mean squared difference of neighbours, (N,): the energy of high frequencies."""
    return sum((values.diff(dim=axis) ** 2).mean((1, 2, 3)) for axis in (2, 3))  # type: ignore[return-value]


def test_blur_takes_high_frequencies_and_keeps_brightness() -> None:
    crops = chequered(200).permute(0, 3, 1, 2).float()
    blurred = blur(crops.clone(), 0.5, draws(200))
    chosen = (blurred != crops).flatten(1).any(1)
    assert chosen.float().mean() == pytest.approx(0.5, abs=0.2)
    assert (roughness(blurred)[chosen] < roughness(crops)[chosen]).all()
    assert (roughness(blurred)[chosen] / roughness(crops)[chosen]).median() < 0.5
    torch.testing.assert_close(blurred.mean((2, 3)), crops.mean((2, 3)), rtol=0, atol=8)
    torch.testing.assert_close(blur(plain(50, 90.0), 1.0, draws(50)), plain(50, 90.0))


@pytest.mark.parametrize("size", [(8, 8), (48, 144), (224, 224)])
def test_blur_grows_with_the_crop(size: tuple[int, int]) -> None:
    # A step edge of 255 has the steepness 255 before, and the same share of the side after.
    crops = torch.zeros(40, 3, *size)
    crops[..., size[1] // 2 :] = 255
    steepest = blur(crops, 1.0, draws(40)).diff(dim=3).flatten(1).amax(1)
    assert steepest.max() <= 255.1
    assert steepest.median() < (200 if size == (48, 144) else 255.1)
    if size == (224, 224):
        assert steepest.median() < 100


def test_noise_has_its_spread_and_no_mean() -> None:
    noisy = add_noise(plain(200, 128.0), 0.5, draws(200)) - 128
    spread, mean = noisy.std((1, 2, 3)), noisy.mean((1, 2, 3))
    chosen = spread > 0
    assert chosen.float().mean() == pytest.approx(0.5, abs=0.2)
    assert spread[chosen].min() == pytest.approx(2, abs=1)
    assert spread[chosen].max() == pytest.approx(14, abs=1)
    assert mean.abs().max() < 14 * 5 / np.sqrt(32 * 96)
    windows = noisy[chosen] / spread[chosen, None, None, None]
    assert len({tuple(window[0, 0, :4].round(decimals=3).tolist()) for window in windows}) > 50


def test_jpeg_is_what_the_codec_makes_of_a_crop() -> None:
    images = chequered(6)
    stored = store(images.clone(), 0.0, 1.0, draws(6))
    for before, after in zip(images.numpy(), stored.numpy(), strict=True):
        possible = (
            cv2.imdecode(
                cv2.imencode(".jpg", before, (cv2.IMWRITE_JPEG_QUALITY, quality))[1],
                cv2.IMREAD_COLOR,
            )
            for quality in range(30, 90)
        )
        assert any(np.array_equal(after, image) for image in possible)  # type: ignore[arg-type]


def test_a_coarser_crop_has_lost_high_frequencies() -> None:
    images = chequered(100)
    stored = store(images.clone(), 1.0, 0.0, draws(100))
    before, after = (roughness(part.permute(0, 3, 1, 2).float()) for part in (images, stored))
    assert stored.dtype == torch.uint8
    assert (after < before).all()


def test_stored_crops_are_few_and_the_others_untouched() -> None:
    images = chequered(300)
    stored = store(images.clone(), 0.2, 0.3, draws(300))
    changed = (stored != images).flatten(1).any(1).float().mean()
    assert changed == pytest.approx(1 - 0.8 * 0.7, abs=0.15)
