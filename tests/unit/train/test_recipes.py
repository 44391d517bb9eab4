"""Named training configs."""

from __future__ import annotations

import pytest

from runtime.preprocess import InputSpec
from runtime.schema import load_schema
from train.recipes import RECIPES

PHOTOS = {"clothing-two-heads", "clothing-multilabel", "attributes"}


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipes_are_configs_that_work(name: str) -> None:
    description, recipe = RECIPES[name]
    assert description.endswith(".")
    InputSpec(height=recipe.imgsz[0], width=recipe.imgsz[1], resize=recipe.resize)
    if name in PHOTOS:  # labels are the user's own
        assert recipe.schema.startswith("derive:")
        assert recipe.network.pool == "global"
    else:
        load_schema(recipe.schema)
        assert recipe.loop.augment.flip == 0
        assert recipe.loop.augment.crop == 0
        assert recipe.network.pool == "attention"
