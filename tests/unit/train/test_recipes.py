"""Named training configs."""

from __future__ import annotations

import pytest

from runtime.preprocess import InputSpec
from runtime.schema import load_schema
from train.recipes import RECIPES


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipes_are_configs_that_work(name: str) -> None:
    description, recipe = RECIPES[name]
    assert description.endswith(".")
    InputSpec(height=recipe.imgsz[0], width=recipe.imgsz[1], resize=recipe.resize)
    if name != "photos":  # attributes are the user's own
        load_schema(recipe.schema)
        assert recipe.loop.augment.flip == 0
        assert recipe.network.pool == "columns"
