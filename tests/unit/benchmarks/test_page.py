from __future__ import annotations

import re
import sys
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import page as page_module
from benchmarks.page import (
    Banner,
    Cell,
    Chart,
    Charts,
    Gallery,
    Matrix,
    Paragraph,
    Picture,
    Position,
    Section,
    Table,
    Terms,
    Thumbnail,
    page,
    thumbnail,
)
from runtime.errors import ConfigError, ImageError, MissingExtraError

pytest.importorskip("jinja2")
VOID = {"meta", "img", "br", "link", "hr", "input"}
HOSTILE = "<script>alert('\"&')</script><img src=http://evil/x onerror=alert(1)>\nline 2"


class Outline(HTMLParser):
    """Fails on a tag that is closed out of turn; keeps tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)


def jpeg() -> bytes:
    return thumbnail(np.full((20, 60, 3), 128, np.uint8))


def sections(text: str) -> list[Section]:
    crop = Thumbnail(jpeg(), text, text, [Position("苏", "浙", True), Position("A", "A", False)])
    matrix = Matrix([text], [text], [[Cell(text, 0.5, wrong=True)]], text)
    blocks = [
        Paragraph(text),
        Table([{text: text, "b": "1"}, {"c": text}], text),
        Picture(b"\x89PNG\r\n", text),
        Gallery([crop, Thumbnail(jpeg(), text)]),
        matrix,
    ]
    return [Section(text, blocks), Section("Second", [])]


def test_page_is_well_formed_and_hostile_text_stays_text() -> None:
    text = page(HOSTILE, sections(HOSTILE), summary=[HOSTILE])
    outline = Outline(text)
    assert "script" not in outline.tags
    assert outline.tags.count("img") == 3
    assert not [name for _, name, _ in outline.attributes if name.startswith("on")]
    # Every place that can hold the text holds it, unchanged.
    assert outline.text.count(HOSTILE) == 18
    assert [value for _, name, value in outline.attributes if name == "alt"][:2] == [HOSTILE] * 2


@given(st.text())
def test_any_text_gives_a_page_that_can_be_written(text: str) -> None:
    whole = page(text, sections(text), summary=[text])
    whole.encode("utf-8")
    assert "script" not in Outline(whole).tags
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f]", whole)


def test_nothing_is_fetched_from_outside() -> None:
    outline = Outline(page("t", sections("t")))
    links = [v for _, name, v in outline.attributes if name in ("src", "href", "srcset", "action")]
    assert len(links) == 5
    assert all(link and link.startswith(("data:image/", "#")) for link in links)
    assert not {"script", "link", "iframe", "object"} & set(outline.tags)
    assert "url(" not in page_module.STYLE
    assert "@import" not in page_module.STYLE


def test_contents_lead_to_every_section() -> None:
    outline = Outline(page("t", [Section("one", []), Section("two", [])]))
    targets = [value for tag, name, value in outline.attributes if (tag, name) == ("a", "href")]
    names = [value for tag, name, value in outline.attributes if (tag, name) == ("section", "id")]
    assert [f"#{name}" for name in names] == targets
    assert ("html", "lang", "en") in outline.attributes
    assert ("meta", "charset", "utf-8") in outline.attributes


def test_wrong_places_are_marked_and_absent_cells_stay_empty() -> None:
    text = page("t", sections("x"))
    assert '<td class="wrong">浙</td>' in text
    assert "<td>A</td>" in text
    assert "<td>x</td><td>1</td><td></td>" in text
    assert '<td class="bad" style="--shade: 0.50">x</td>' in text.replace("\n ", " ")


def test_thumbnail_keeps_the_aspect_ratio() -> None:
    image = np.zeros((36, 136, 3), np.uint8)
    image[:, :, 2] = 250
    small = cv2.imdecode(np.frombuffer(thumbnail(image, height_px=72), np.uint8), 1)
    assert small is not None
    assert small.shape == (72, 272, 3)
    assert np.abs(small.mean(axis=(0, 1)) - [0, 0, 250]).max() < 6
    thin = cv2.imdecode(np.frombuffer(thumbnail(np.zeros((900, 1, 3), np.uint8)), np.uint8), 1)
    assert thin is not None
    assert thin.shape == (48, 1, 3)


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(ImageError, match="float64"):
        thumbnail(np.zeros((2, 2, 3)))  # type: ignore[arg-type]
    with pytest.raises(ImageError, match=r"\(0, 4, 3\)"):
        thumbnail(np.zeros((0, 4, 3), np.uint8))
    with pytest.raises(ConfigError, match="at least 1"):
        thumbnail(np.zeros((2, 2, 3), np.uint8), height_px=0)


def test_without_jinja_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    page_module._template.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"headlight\[bench\]"):
        page("t", [])
    with pytest.raises(MissingExtraError):
        page_module.check_jinja()


def test_blocks_of_reports_hold_hostile_text_as_text() -> None:
    blocks = [
        Banner("fail", HOSTILE, [HOSTILE]),
        Charts([Chart("<svg><text>drawn</text></svg>", HOSTILE)]),
        Terms({HOSTILE: HOSTILE}),
        Table([{HOSTILE: HOSTILE}], HOSTILE, folded=HOSTILE, wide=True),
    ]
    outline = Outline(page("t", [Section("s", blocks)], lead=blocks))
    assert "script" not in outline.tags
    assert outline.text.count(HOSTILE) == 2 * (2 + 1 + 2 + 4)
    assert outline.tags.count("svg") == 2
    labels = [value for _, name, value in outline.attributes if name == "aria-label"]
    assert labels.count(HOSTILE) == 2
    assert outline.tags.index("svg") < outline.tags.index("nav")
    assert ("div", "class", "banner fail") in outline.attributes


def test_only_folded_tables_are_hidden() -> None:
    rows = [{"a": "1"}]
    plain = page("t", [Section("s", [Table(rows), Table(rows, wide=True)])])
    assert "<details" not in plain
    assert plain.count('<table class="wide">') == 1
    folded = page("t", [Section("s", [Table(rows, folded="more")])])
    assert "<details><summary>more</summary>" in folded
