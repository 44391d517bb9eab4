"""One self-contained HTML page: tables, pictures and galleries of crops, for people to look at.

A page needs no network, no script and no other file: pictures travel inside it. It follows the
browser's light or dark preference, reads on a phone (400 px) as on a desk, and prints. Whatever
text goes in is shown as text: labels, file names and captions cannot become markup.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Final, TypeAlias

import cv2
import numpy as np

from runtime.arrays import Image
from runtime.errors import ConfigError, ImageError, MissingExtraError

from .command import missing_extra
from .page_template import STYLE, TEMPLATE
from .report import Rows

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = [
    "Banner",
    "Block",
    "Cell",
    "Chart",
    "Charts",
    "Gallery",
    "Matrix",
    "Paragraph",
    "Picture",
    "Position",
    "Section",
    "Table",
    "Terms",
    "Thumbnail",
    "check_jinja",
    "page",
    "thumbnail",
]

_JPEG_QUALITY: Final = 85
_UNPRINTABLE: Final = {
    **dict.fromkeys([*range(9), 11, 12, *range(14, 32), 127], "\N{REPLACEMENT CHARACTER}")
}
"""Control characters that HTML forbids; tab, line feed and carriage return stay."""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text; line breaks are kept."""

    kind: ClassVar[str] = "paragraph"
    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """Rows with a heading line: columns are the keys in order of first appearance."""

    kind: ClassVar[str] = "table"
    rows: Rows
    caption: str = ""
    folded: str = ""
    """Where given, the table is shown only when this line is clicked."""
    wide: bool = False
    """Whether texts wrap, and the first column stays in sight while others are scrolled to."""

    @property
    def columns(self) -> Sequence[str]:
        """Column names in order."""
        return list(dict.fromkeys(key for row in self.rows for key in row))


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing."""

    kind: ClassVar[str] = "picture"
    png: bytes
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Banner:
    """A verdict, which stands out."""

    kind: ClassVar[str] = "banner"
    outcome: str
    """``pass``, ``fail``, ``inconclusive`` or another word for none of these."""
    title: str
    lines: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing in the page's own colours."""

    svg: str
    """An SVG element without scripts, which is *not* escaped: text in it is escaped already."""
    caption: str


@dataclass(frozen=True, slots=True)
class Charts:
    """Drawings side by side where there is room."""

    kind: ClassVar[str] = "charts"
    charts: Sequence[Chart]


@dataclass(frozen=True, slots=True)
class Terms:
    """Words and what they mean."""

    kind: ClassVar[str] = "terms"
    terms: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Position:
    """One place of a reading in an aligned comparison: what stands there and what was read."""

    truth: str
    answer: str
    wrong: bool


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A crop with what is to be said about it."""

    jpeg: bytes
    caption: str
    """May hold several lines."""
    title: str = ""
    positions: Sequence[Position] = ()
    """Truth above answer, position by position; wrong ones are marked."""


@dataclass(frozen=True, slots=True)
class Gallery:
    """Crops side by side, wrapped to the width of the window."""

    kind: ClassVar[str] = "gallery"
    items: Sequence[Thumbnail]


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a matrix."""

    text: str
    shade: float = 0.0
    """How strongly it is tinted, in [0, 1]."""
    wrong: bool = False
    """Tinted as an error, not as a success."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """Tinted cells under column labels, beside row labels, as of a confusion."""

    kind: ClassVar[str] = "matrix"
    rows: Sequence[str]
    columns: Sequence[str]
    cells: Sequence[Sequence[Cell]]
    corner: str = ""
    """What rows and columns are."""


Block: TypeAlias = Paragraph | Table | Picture | Gallery | Matrix | Banner | Charts | Terms


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page with an entry in its table of contents."""

    title: str
    blocks: Sequence[Block]


def check_jinja() -> None:
    """Fail early when pages cannot be made.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    _template()


def page(
    title: str,
    sections: Sequence[Section],
    *,
    summary: Sequence[str] = (),
    lead: Sequence[Block] = (),
) -> str:
    """Return a whole HTML document, to be written as UTF-8.

    Args:
        title: Heading and window title.
        sections: Parts in order; each stands in the table of contents.
        summary: Lines under the heading.
        lead: What stands there before the table of contents.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    text = _template().render(
        title=title, sections=sections, summary=summary, lead=lead, style=STYLE
    )
    # File names that are no UTF-8 hold lone surrogates, which could not be written.
    return text.translate(_UNPRINTABLE).encode("utf-8", "replace").decode("utf-8")


def thumbnail(image: Image, *, height_px: int = 48) -> bytes:
    """Return a crop as a small JPEG, its aspect ratio kept.

    Args:
        image: (H, W, 3) uint8, blue first.
        height_px: Height of the result, at least 1.

    Raises:
        ConfigError: ``height_px`` is below 1.
        ImageError: ``image`` is not (H, W, 3) uint8 or has no pixels.
    """
    if height_px < 1:
        raise ConfigError(f"height_px must be at least 1, got {height_px}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ImageError(f"expected (H, W, 3) uint8 pixels, got {image.dtype} {image.shape}")
    height, width = image.shape[:2]
    size = (max(1, round(width * height_px / height)), height_px)
    method = cv2.INTER_AREA if height_px < height else cv2.INTER_CUBIC
    small = cv2.resize(image, size, interpolation=method)
    done, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise ImageError(f"OpenCV could not write a picture of {size[0]}x{size[1]} px as JPEG")
    return jpeg.tobytes()


@cache
def _template() -> Template:
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise MissingExtraError(missing_extra("jinja2", "bench")) from error
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["zip"] = zip
    environment.filters["base64"] = lambda data: b64encode(data).decode("ascii")
    return environment.from_string(TEMPLATE)
