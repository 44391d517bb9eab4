"""Strengths of augmentation."""

from __future__ import annotations

from dataclasses import fields

import pytest

from runtime.errors import ConfigError
from train.augment import PHOTOS, PLATES, AugmentConfig

NAMES = [field.name for field in fields(AugmentConfig)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_strengths_outside_0_and_1_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=r"must lie in \[0, 1\]"):
        AugmentConfig(**{name: value})


def test_texts_are_neither_mirrored_nor_cut() -> None:
    assert (PLATES.flip, PLATES.crop) == (0, 0)
    assert PHOTOS.flip > 0
    assert PHOTOS.crop > 0
