"""Named training configs: a recipe is a value, and its docstring says what it reached.

Results stand in docs/results.md with their commands, data and machine. Every setting is a flag of
``train.fit``; for data of your own start from the recipe that is nearest and pass ``--schema``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from .augment import PHOTOS, PLATES, AugmentConfig
from .config import FitConfig
from .loop import LoopConfig
from .losses import LossConfig
from .mixing import MixingConfig
from .network import NetworkConfig
from .optim import OptimConfig

__all__ = ["RECIPES"]

CN_PLATE: Final = FitConfig(
    schema="cn-plate",
    imgsz=(48, 144),
    network=NetworkConfig(sizes={"width": 48, "last_width": 384}, pool="attention"),
    loop=LoopConfig(
        steps=6000,
        ema=0.998,
        augment=PLATES,
        # The province is learnt last: weighing more, it is read on plates of provinces that no
        # real crop shows (docs/results.md, "Without real crops").
        loss=LossConfig(head_weights={"char_1": 3.0}),
    ),
)
"""Chinese number plates of 7 and 8 characters, their colour and rows.

Train on rendered plates (``train.synth cn-plate``) and real ones, the real ones repeated such that
one crop in three or two is real. 6,000 steps on 40,000 rendered and 1,112 real crops: 98.9 % of
jiangsu/test (188) and 98.1 % of ccpd/val (108) exact, 51 minutes on one core, all heads weighing
alike; the weight on the province is newer (docs/results.md).
"""

US_PLATE: Final = FitConfig(
    schema="us-plate",
    imgsz=(64, 128),
    network=NetworkConfig(sizes={"width": 32, "last_width": 256}, pool="attention"),
    # No slanted crops: with them, and without averaged weights, 42 of 54 (one seed).
    loop=LoopConfig(steps=5000, ema=0.998, augment=replace(PLATES, tilt=0.0)),
)
"""US number plates: 4 to 8 characters anywhere on a picture; O counts as 0 and I as 1.

5,000 steps on 30,000 rendered and 515 real plates: 46 of the 54 of plates-us/val, which chose the
weights (docs/results.md).
"""

CLOTHING_TWO_HEADS: Final = FitConfig(
    schema="derive:colour,garment",
    imgsz=(96, 96),
    network=NetworkConfig(
        sizes={"width": 32, "last_width": 256, "last_stride": (2, 2)}, pool="global"
    ),
    loop=LoopConfig(
        steps=6000,
        ema=0.998,
        # A little: a colour must stay what it is called.
        augment=replace(PHOTOS, colour=0.1),
        mixing=MixingConfig(cutmix=1.0, probability=0.5),
    ),
)
"""Catalogue photos with two labels, ``colour,garment``: one choice head each.

5,000 steps on 4,906 photos: colour 78.5 %, garment 93.9 % of clothing/test (689), 28 minutes on
one core (docs/results.md).
"""

CLOTHING_MULTILABEL: Final = replace(CLOTHING_TWO_HEADS, schema="derive:labels")
"""The same photos with one labels head of all colours and garments: a sigmoid per label.

6,000 steps on 4,906 photos: macro F1 0.874, all 28 labels right of 70.2 % of clothing/test (689),
one hour of a core (docs/results.md).
"""

ATTRIBUTES: Final = replace(CLOTHING_TWO_HEADS, schema="derive:gender,season,usage+")
"""A table with a column per head: gender and season are choice heads, usage a labels head.

4,000 steps, clothing/test (688): gender 93.6 %, season 82.4 %, usage macro F1 0.847.
"""

TINY: Final = FitConfig(
    schema="cn-plate",
    imgsz=(48, 144),
    network=NetworkConfig(sizes={"width": 32, "last_width": 256}, pool="attention"),
    # Rendered crops vary enough as they are; changing them more needs more steps.
    loop=LoopConfig(
        steps=2000,
        validate_every=250,
        optim=OptimConfig(warmup=100),
        augment=AugmentConfig(
            geometry=0.3,
            tilt=0.1,
            colour=0.3,
            light=0.05,
            blur=0.1,
            noise=0.1,
            erase=0.05,
            resolution=0.05,
            jpeg=0.05,
        ),
    ),
)
"""The smallest network that learns plates: for demos and tests on two cores."""

RECIPES: Final[Mapping[str, tuple[str, FitConfig]]] = {
    "cn-plate": ("Chinese number plates of 7 and 8 characters, colour, rows.", CN_PLATE),
    "us-plate": ("US number plates of 4 to 8 characters.", US_PLATE),
    "clothing-two-heads": (
        "Photos with two labels each, one choice head for each.",
        CLOTHING_TWO_HEADS,
    ),
    "clothing-multilabel": (
        "Photos with any number of labels, one labels head for all.",
        CLOTHING_MULTILABEL,
    ),
    "attributes": ("Photos with a table of attributes, heads of both kinds.", ATTRIBUTES),
    "tiny": ("The smallest network that learns plates: for demos and tests.", TINY),
}
"""Name to what it is for, and the config."""
