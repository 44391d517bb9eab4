"""Colours, uneven light and dirt."""

from __future__ import annotations

import pytest
import torch

from tests.unit.train.augment.crops import chequered, draws, plain
from train.augment.scene import erase, recolour, shade


def test_colours_keep_the_order_of_brightness() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 256, 1).expand(200, 1, 256, 3)
    curves = recolour(ramp, 1.0, draws(200))
    assert curves.shape == (200, 3, 1, 256)
    assert (curves.diff(dim=3).double().mean(1) > -1e-3).all()
    middle = curves[:, :, 0, 128].mean(1)
    assert middle.median() == pytest.approx(128, abs=15)
    assert middle.std() > 15


def test_a_stronger_change_of_colours_is_farther_from_the_crop() -> None:
    images = chequered(100)
    crops = images.permute(0, 3, 1, 2).float()
    weak, strong = (
        (recolour(images, strength, draws(100)) - crops).abs().mean() for strength in (0.2, 0.8)
    )
    assert 0 < 2 * weak < strong


def test_colours_of_strength_0_are_the_crop() -> None:
    images = chequered(3)
    torch.testing.assert_close(
        recolour(images, 0, draws(3)), images.permute(0, 3, 1, 2).float(), rtol=0, atol=0
    )


def test_light_is_uneven_within_bounds() -> None:
    lit = shade(plain(300, 100.0), 0.4, draws(300))
    changed = (lit != 100).flatten(1).any(1)
    assert changed.float().mean() == pytest.approx(0.4, abs=0.15)
    lows, highs = lit.flatten(1).amin(1), lit.flatten(1).amax(1)
    assert lows.min() >= 50  # a shadow takes half of the light at most
    assert highs.max() <= 200
    assert (highs - lows)[changed].median() > 15
    # Most shines are seen, none without a shadow.
    assert (highs[changed] > 101).float().mean() == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize("area", [0.02, 0.1])
def test_patches_are_rectangles_of_one_colour_and_bounded_area(area: float) -> None:
    height, width = 48, 144
    painted = erase(plain(300, -1.0, height, width), 1.0, area, draws(300))
    patches = painted[:, 0] >= 0
    rows, columns = patches.any(2).sum(1), patches.any(1).sum(1)
    pixels = patches.flatten(1).sum(1)
    torch.testing.assert_close(pixels, rows * columns)
    assert (pixels > 0).float().mean() > 0.99
    # A side may gain a pixel by where the grid falls.
    sides = area * height * width
    assert (pixels <= (rows + 1) * (columns + 1)).all()
    assert ((rows - 1).clamp(min=0) * (columns - 1).clamp(min=0) <= sides).all()
    inner = painted[patches[:, None].expand_as(painted)]
    assert 0 <= inner.min() <= inner.max() <= 255
    assert all(len(crop[crop >= 0].unique()) <= 3 for crop in painted)
