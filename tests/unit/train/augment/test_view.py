"""Flip, box and perspective."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.unit.train.augment.crops import chequered, draws
from train.augment.view import flip, warp

HEIGHT, WIDTH = 48, 144


def places(count: int) -> Tensor:
    """(N, 2, H, W): every pixel holds its own x and y, so that a warp shows where it looks."""
    x = torch.arange(float(WIDTH)).expand(count, 1, HEIGHT, WIDTH)
    y = torch.arange(float(HEIGHT))[:, None].expand(count, 1, HEIGHT, WIDTH)
    return torch.cat([x, y], 1)


def test_a_flip_mirrors_left_and_right() -> None:
    images = chequered(200)
    torch.testing.assert_close(flip(images, 1.0, draws(200)), images.flip(2), rtol=0, atol=0)
    some = flip(images, 0.5, draws(200))
    mirrored = (some == images.flip(2)).flatten(1).all(1)
    assert (mirrored | (some == images).flatten(1).all(1)).all()
    assert mirrored.float().mean() == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_pixels_move_no_farther_than_the_corners_may(strength: float) -> None:
    moved = (warp(places(300), draws(300), geometry=strength) - places(300)).abs()
    # Each corner by 12 % of the side, of the width half as much, and all by half of that again.
    reach = 1.5 * 0.12 * strength * torch.tensor([0.5 * WIDTH, HEIGHT])
    assert (moved.mean((2, 3)) <= reach).all()
    still = (moved.flatten(1).amax(1) < 1e-2).float().mean()
    assert still == pytest.approx(0.1, abs=0.08)
    # Corners are uniform: on average a pixel moves by about a fourth of the reach.
    share = moved.mean((0, 2, 3)) / reach
    assert ((share > 0.1) & (share < 0.4)).all()


def test_boxes_keep_the_area_and_stay_inside() -> None:
    seen = warp(places(300), draws(300), crop=1.0)
    low, high = seen.flatten(2).amin(2), seen.flatten(2).amax(2)
    assert (low >= 0).all()
    assert (high <= torch.tensor([WIDTH - 1, HEIGHT - 1]) + 1e-3).all()
    shares = (high - low) / torch.tensor([WIDTH - 1, HEIGHT - 1])
    area = shares.prod(1)
    assert 0.3 - 1e-3 <= area.min() < 0.4
    assert area.max() <= 1 + 1e-4
    # Only a side that would be longer than the crop's makes a box leaner than 4 to 3.
    assert ((shares[:, 0] / shares[:, 1]).log().abs() <= torch.tensor(4 / 3).log() + 1e-3).all()


def test_characters_stay_in_the_crop() -> None:
    # A bright plate on a dark crop, with a margin of 8 to 12 %.
    crops = torch.zeros(200, 3, HEIGHT, WIDTH)
    crops[:, :, 6:-6, 12:-12] = 255
    left = warp(crops, draws(200), geometry=1.0).sum((1, 2, 3)) / crops[0].sum()
    assert left.min() >= 0.75
    assert left.max() <= 1.4


def test_a_slanted_crop_is_still_all_there() -> None:
    # A bright spot near every corner of a dark crop.
    crops = torch.zeros(200, 3, HEIGHT, WIDTH)
    for y in (4, HEIGHT - 10):
        for x in (4, WIDTH - 10):
            crops[:, :, y : y + 6, x : x + 6] = 255
    seen = warp(crops, draws(200), tilt=1.0)
    left = seen.sum((1, 2, 3)) / crops[0].sum()
    # The slant shrinks by up to (1 + 1/2) (1 + 1/6) = 1.75.
    assert left.min() >= 0.9 / 1.75
    assert left.max() <= 1.02
    assert left.std() > 0.05
    assert warp(crops, draws(200), tilt=0.3).eq(crops).flatten(1).all(1).float().mean() < 0.9


def test_no_strength_is_no_resampling() -> None:
    crops = places(2)
    assert warp(crops, draws(2)) is crops
