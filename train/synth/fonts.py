"""Fonts of the machine: where they lie, and their glyphs as masks of plate cells.

Chinese characters need a CJK font. A plate squeezes them to half their width, which would leave
vertical strokes half as thick as horizontal ones; GA 36 strokes are even, so the masks are
widened sideways (regular weights) or thinned upright (bold weights).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from runtime.errors import ConfigError

from .arrays import Mask, as_mask
from .strokes import CELL_PX

__all__ = [
    "CJK_CANDIDATES",
    "FontSet",
    "find_fonts",
    "font_digest",
    "hanzi_mask",
    "latin_mask",
    "word_mask",
]

FONT_ROOT: Final = Path("/usr/share/fonts")
CJK_CANDIDATES: Final = (
    "opentype/noto/NotoSansCJK-Regular.ttc",
    "opentype/noto/NotoSansCJK-Bold.ttc",
    "truetype/wqy/wqy-zenhei.ttc",
    "truetype/wqy/wqy-microhei.ttc",
)
"""Fonts of Debian's fonts-noto-cjk, fonts-wqy-zenhei and fonts-wqy-microhei."""
LATIN_CANDIDATES: Final = (
    "truetype/dejavu/DejaVuSansCondensed-Bold.ttf",
    "truetype/dejavu/DejaVuSans-Bold.ttf",
    "opentype/noto/NotoSansCJK-Bold.ttc",
    "truetype/liberation/LiberationSansNarrow-Bold.ttf",
    "truetype/liberation/LiberationSans-Bold.ttf",
)
PRINT_CANDIDATES: Final = (
    "truetype/dejavu/DejaVuSansCondensed.ttf",
    "truetype/dejavu/DejaVuSansCondensed-Bold.ttf",
    "truetype/dejavu/DejaVuSansCondensed-BoldOblique.ttf",
    "truetype/dejavu/DejaVuSerifCondensed-Bold.ttf",
    "truetype/dejavu/DejaVuSerifCondensed-BoldItalic.ttf",
    "truetype/dejavu/DejaVuSerif-Bold.ttf",
    "truetype/liberation/LiberationSerif-BoldItalic.ttf",
    "truetype/liberation/LiberationSerif-Bold.ttf",
)
"""Fonts of Debian's fonts-dejavu-core, fonts-dejavu-extra and fonts-liberation."""
_EM_PX: Final = 160
_PRINT_EM_PX: Final = 40
_PROBE: Final = "皖"
"""Missing from fonts without Chinese characters; a tofu box is recognised by comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FontSet:
    """Fonts that a run draws with, in the order in which they are drawn from."""

    cjk: tuple[Path, ...]
    """Fonts for Chinese characters; empty for schemas of Latin characters only."""
    latin: tuple[Path, ...]
    """Fonts mixed in for letters and digits; may be empty."""
    words: tuple[Path, ...] = ()
    """Fonts for the names and slogans on Latin plates; may be empty."""


def find_fonts(
    *, needs_cjk: bool, font: Path | None = None, roots: Sequence[Path] | None = None
) -> FontSet:
    """Find the fonts to draw with.

    Args:
        needs_cjk: Whether Chinese characters will be drawn.
        font: Use this font, and no other, for Chinese characters.
        roots: Folders to look in; default ``/usr/share/fonts``.

    Raises:
        ConfigError: ``needs_cjk`` and no usable CJK font.
    """
    # Read at call time, so that tests can point FONT_ROOT at an empty folder.
    places = (FONT_ROOT,) if roots is None else tuple(roots)
    latin = _existing(places, LATIN_CANDIDATES)
    if not needs_cjk:
        return FontSet(cjk=(), latin=latin, words=_existing(places, PRINT_CANDIDATES))
    if font is not None:
        _require_chinese(font)
        return FontSet(cjk=(font,), latin=latin)
    cjk = _existing(places, CJK_CANDIDATES)
    if not cjk:
        looked = ", ".join(str(root / name) for root in places for name in CJK_CANDIDATES)
        raise ConfigError(
            f"no font with Chinese characters found (looked for {looked}); "
            "run `apt-get install fonts-noto-cjk` or give one with --font FILE"
        )
    return FontSet(cjk=cjk, latin=latin)


def font_digest(path: Path) -> str:
    """Return the sha256 of a font file, as hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _existing(roots: Sequence[Path], names: Sequence[str]) -> tuple[Path, ...]:
    return tuple(root / name for root in roots for name in names if (root / name).is_file())


def _require_chinese(font: Path) -> None:
    if not font.is_file():
        raise ConfigError(f"--font {font}: no such file")
    try:
        probe, missing = _raw_mask(font, _PROBE), _raw_mask(font, "\U0010fffd")
    except OSError as error:
        raise ConfigError(f"--font {font}: not a font that Pillow can read ({error})") from error
    if probe.size == 0 or np.array_equal(probe, missing):
        raise ConfigError(f"--font {font}: has no Chinese characters (tried {_PROBE})")


@lru_cache(maxsize=32)
def _load(path: Path, em_px: int) -> ImageFont.FreeTypeFont:
    # Collections hold one face per region; shapes differ (JP 戸 for SC 户 in 沪), so take SC.
    for index in range(10):
        try:
            face = ImageFont.truetype(path, em_px, index=index)
        except OSError:
            break
        if (face.getname()[0] or "").endswith(" SC"):
            return face
    return ImageFont.truetype(path, em_px)


def _raw_mask(path: Path, text: str, em_px: int = _EM_PX) -> Mask:
    """Draw ``text`` and crop to its ink; (0, 0) when there is none."""
    canvas = PillowImage.new("L", (em_px * (len(text) + 1), em_px * 2), 0)
    ImageDraw.Draw(canvas).text((em_px // 4, em_px // 4), text, font=_load(path, em_px), fill=255)
    box = canvas.getbbox()
    if box is None:
        return np.zeros((0, 0), np.uint8)
    return as_mask(np.asarray(canvas.crop(box)))


@lru_cache(maxsize=4096)
def hanzi_mask(path: Path, character: str, weight: int) -> Mask:
    """Squeeze a Chinese character into a plate cell, (180, 90) uint8, read-only.

    Args:
        path: A CJK font.
        character: One character.
        weight: 0 lightest to 3 boldest.
    """
    mask = as_mask(cv2.resize(_raw_mask(path, character), CELL_PX, interpolation=cv2.INTER_AREA))
    # 2 px are 1 mm. Regular: 4 mm upright strokes and 7 mm level ones become even.
    if "Bold" in path.name:
        size = (1, (7, 5, 3, 1)[weight])
        mask = as_mask(cv2.erode(mask, np.ones(size[::-1], np.uint8)))
    else:
        # Pad first: ink touches the border of the cell and could not grow beyond it.
        grow = (1, 4, 6, 9)[weight]
        inner = as_mask(cv2.resize(mask, (CELL_PX[0] - grow, CELL_PX[1])))
        mask = as_mask(
            cv2.copyMakeBorder(inner, 0, 0, grow // 2, grow - grow // 2, cv2.BORDER_CONSTANT)
        )
        mask = as_mask(cv2.dilate(mask, np.ones((1 + weight // 3, grow), np.uint8)))
    mask.flags.writeable = False
    return mask


@lru_cache(maxsize=4096)
def latin_mask(path: Path, character: str) -> Mask:
    """Stretch a letter or digit of a font to a plate cell, (180, 90) uint8, read-only.

    Narrow glyphs (1, I, J) keep their width relative to H.
    """
    raw = _raw_mask(path, character)
    reference = _raw_mask(path, "H").shape[1]
    width = min(CELL_PX[0], max(8, round(CELL_PX[0] * raw.shape[1] / reference)))
    mask = np.zeros(CELL_PX[::-1], np.uint8)
    left = (CELL_PX[0] - width) // 2
    mask[:, left : left + width] = cv2.resize(
        raw, (width, CELL_PX[1]), interpolation=cv2.INTER_AREA
    )
    mask.flags.writeable = False
    return mask


@lru_cache(maxsize=2048)
def word_mask(path: Path, words: str) -> Mask:
    """Draw words in a font for print of up to 30 px, cropped to their ink; (0, 0) for none."""
    mask = _raw_mask(path, words, _PRINT_EM_PX)
    mask.flags.writeable = False
    return mask
