"""Synthetic number plates: labelled training pictures drawn by program.

``python -m train.synth cn-plate -n 20000 -o DIR`` writes a data folder; :func:`render` draws one
sample. Sample ``i`` depends only on ``(seed, i)`` and the fonts, never on the number of workers.

The way of one sample: ``texts`` (what stands on the plate) -> ``layout`` (where, in millimetres)
-> ``paint`` (colours of the face) -> ``scene`` (car, crop, perspective, light) -> ``sensor``
(blur, resolution, noise, JPEG). Letters come from ``strokes``, a typeface of our own; Chinese
characters from a CJK font of the machine (``fonts``).

US and other Latin plates take a way of their own from text to light (``latin``): ``latin_texts``
-> ``us_layout`` or ``eu_layout`` -> ``us_paint`` or ``eu_paint`` -> ``snapshot`` -> ``sensor``.
"""

from .fonts import FontSet, find_fonts
from .render import SCHEMAS, render

__all__ = ["SCHEMAS", "FontSet", "find_fonts", "render"]
