"""Augmentation: random, but a function of the generator, and never of the caller's picture."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.arrays import Image
from runtime.errors import ConfigError
from tests.training import NO_CHANGES
from train.augment import AugmentConfig, augment

NAMES = [field.name for field in fields(AugmentConfig)]
EVERYTHING = AugmentConfig(geometry=1, colour=1, blur=1, noise=1, erase=1, flip=1)


def crop(height: int = 32, width: int = 96, seed: int = 0) -> Image:
    """Smooth noise: every kind of change shows on it."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (height // 4, width // 4, 3)).astype(np.uint8)
    return np.ascontiguousarray(coarse.repeat(4, 0).repeat(4, 1))


@given(
    strengths=st.lists(st.floats(0, 1), min_size=6, max_size=6),
    height=st.integers(2, 16).map(lambda n: 4 * n),
    width=st.integers(2, 40).map(lambda n: 4 * n),
    seed=st.integers(0, 2**32),
)
def test_size_and_type_stay_and_the_picture_is_not_touched(
    strengths: list[float], height: int, width: int, seed: int
) -> None:
    config = AugmentConfig(**dict(zip(NAMES, strengths, strict=True)))
    image = crop(height, width)
    kept = image.copy()
    image.flags.writeable = False
    changed = augment(image, config, np.random.default_rng(seed))
    assert changed.shape == image.shape
    assert changed.dtype == np.uint8
    np.testing.assert_array_equal(image, kept)


@pytest.mark.parametrize("seed", range(20))
def test_strength_zero_changes_nothing(seed: int) -> None:
    image = crop()
    changed = augment(image, NO_CHANGES, np.random.default_rng(seed))
    np.testing.assert_array_equal(changed, image)


def test_the_generator_decides() -> None:
    image = crop()
    first, again, other = (
        augment(image, EVERYTHING, np.random.default_rng(seed)) for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("name", NAMES)
def test_each_strength_changes_the_picture_by_itself(name: str) -> None:
    config = replace(NO_CHANGES, **{name: 1.0})
    image = crop()
    changed = [augment(image, config, np.random.default_rng(seed)) for seed in range(20)]
    share = np.mean([(other != image).any() for other in changed])
    assert share == 1.0 if name != "geometry" else 0.7 <= share <= 1.0
    assert len({other.tobytes() for other in changed}) > (0 if name == "flip" else 10)


def test_a_flip_mirrors_left_and_right() -> None:
    flipped = augment(crop(), replace(NO_CHANGES, flip=1.0), np.random.default_rng(0))
    np.testing.assert_array_equal(flipped, crop()[:, ::-1])


def test_geometry_keeps_the_characters_in_the_picture() -> None:
    # A bright frame of 8 % on a dark crop: whatever the warp does, most of it must stay visible.
    image = np.zeros((48, 144, 3), np.uint8)
    image[6:-6, 12:-12] = 255
    config = replace(NO_CHANGES, geometry=1.0)
    for seed in range(50):
        warped = augment(image, config, np.random.default_rng(seed))
        assert 0.75 <= warped.sum() / image.sum() <= 1.4


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_strengths_outside_0_and_1_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=r"must lie in \[0, 1\]"):
        AugmentConfig(**{name: value})
