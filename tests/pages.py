"""What a page must be in a real browser, whatever it shows: quiet, offline, readable on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["check_page"]

_WIDTHS_PX: Final = (1280, 400)
_SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")
_UNNAMED = """() => [...document.querySelectorAll('img, [role=img]')]
    .filter(each => !(each.getAttribute('alt') || each.getAttribute('aria-label')))
    .map(each => each.outerHTML.slice(0, 80))"""
_BROKEN = """() => [...document.images].filter(each => !each.naturalWidth).map(each => each.alt)"""
_SMALL = """() => [...document.querySelectorAll('svg text')].map(each => {
    const scale = each.ownerSVGElement.getBoundingClientRect().width
        / each.ownerSVGElement.viewBox.baseVal.width;
    return parseFloat(getComputedStyle(each).fontSize) * scale;
}).filter(size => size < 9)"""
_CONTRAST = """() => {
    const luminance = rgb => {
        const [r, g, b] = rgb.match(/[\\d.]+/g).slice(0, 3).map(Number).map(each => {
            const share = each / 255;
            return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const paper = luminance(getComputedStyle(document.body).backgroundColor);
    const texts = 'p, li, td, th, dt, dd, strong, a, summary, figcaption, svg text';
    const found = [];
    for (const each of document.querySelectorAll(texts)) {
        const style = getComputedStyle(each);
        const ink = luminance(each.closest('svg') ? style.fill : style.color);
        const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
        if (ratio < 4.5) found.push([ratio.toFixed(2), each.textContent.slice(0, 40)]);
    }
    return found;
}"""


def check_page(browser: Browser, path: Path) -> None:
    """Open a page in Chromium, on a desk and on a phone, light and dark.

    It must say nothing on the console, fetch nothing, be no wider than the window, have a text for
    every picture, letters of at least 9 px in drawings, and WCAG's contrast of 4.5 for all texts.
    """
    for width in _WIDTHS_PX:
        for scheme in _SCHEMES:
            context = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme
            )
            try:
                page = context.new_page()
                with _quiet(page, path):
                    page.goto(path.as_uri())
                    _check(page, width, f"{width} px, {scheme}")
            finally:
                context.close()


def _check(page: Page, width: int, where: str) -> None:
    across = page.evaluate("document.documentElement.scrollWidth")
    assert across <= width, f"{where}: {across} px wide"
    for fault in (_UNNAMED, _BROKEN, _SMALL, _CONTRAST):
        assert page.evaluate(fault) == [], where


@contextmanager
def _quiet(page: Page, path: Path) -> Iterator[None]:
    """Fail on words on the console, errors, and requests for anything but the page itself."""
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda request: heard.append(request.url))
    yield
    assert [each for each in heard if each != path.as_uri() and not each.startswith("data:")] == []
