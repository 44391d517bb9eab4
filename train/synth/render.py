"""One labelled sample from a schema's name, a seed and an index."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

import numpy as np

from runtime.errors import ConfigError

from .arrays import Image, chance
from .fonts import FontSet, find_fonts
from .latin import render_latin
from .latin_texts import sample_latin, sample_us
from .layout import arrange
from .paint import paint
from .scene import photograph
from .sensor import record
from .texts import PlateText, sample_cn

__all__ = ["SCHEMAS", "needs_cjk", "render"]

SCHEMAS: Final[Mapping[str, Callable[[np.random.Generator], PlateText]]] = {
    "cn-plate": sample_cn,
    "us-plate": sample_us,
    "latin-plate": sample_latin,
}
"""Text sampler of every schema that can be rendered."""
CLEAN_SHARE: Final = 0.12
"""Share of nearly clean samples: without them the first epochs learn nothing."""


def needs_cjk(schema_name: str) -> bool:
    """Say whether plates of this schema carry Chinese characters."""
    return schema_name == "cn-plate"


def render(
    schema_name: str, index: int, seed: int, *, fonts: FontSet | None = None
) -> tuple[Image, str, str, str]:
    """Draw sample ``index`` of the run ``seed``.

    Args:
        schema_name: A key of ``SCHEMAS``.
        index: Number of the sample, from 0.
        seed: Seed of the run, from 0.
        fonts: Fonts to draw with; by default those of this machine.

    Returns:
        Image (H, W, 3) uint8 BGR of no fixed size, text, colour, layers; colour and layers are
        empty for schemas without these heads.

    Raises:
        ConfigError: The schema is unknown, or needs a CJK font that is missing.
    """
    if schema_name not in SCHEMAS:
        raise ConfigError(f"schema {schema_name!r} cannot be rendered; known: {', '.join(SCHEMAS)}")
    fonts = fonts or _default_fonts(schema_name)
    rng = np.random.default_rng((seed, index))
    plate = SCHEMAS[schema_name](rng)
    draw = _chinese if schema_name == "cn-plate" else render_latin
    return draw(plate, fonts, rng), plate.text, plate.colour, plate.layers


def _chinese(plate: PlateText, fonts: FontSet, rng: np.random.Generator) -> Image:
    layout = arrange(plate, rng)
    clean = chance(rng, CLEAN_SHARE)
    # The power favours mild damage; hopeless pictures only teach guessing.
    strength = 0.1 if clean else float(0.2 + 0.75 * rng.random() ** 1.4)
    face = paint(plate, layout, fonts, rng, plain=clean)
    scene = photograph(face, layout, rng, strength=strength)
    return record(scene, rng, strength=strength)


@lru_cache(maxsize=4)
def _default_fonts(schema_name: str) -> FontSet:
    return find_fonts(needs_cjk=needs_cjk(schema_name))
