"""A real Chromium, where one is installed, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.engines import require

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["chromium", "find_chromium"]

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str:
    """Return the path of a Chromium, or skip; fail where HEADLIGHT_INSTALLED names ``chromium``."""
    for name in _NAMES:
        if path := shutil.which(name):
            return path
    reason = "no Chromium is installed"
    if "chromium" in os.environ.get("HEADLIGHT_INSTALLED", "").split():
        pytest.fail(f"{reason}, but HEADLIGHT_INSTALLED names it")
    pytest.skip(reason)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a headless Chromium until the block ends."""
    path = find_chromium()
    require("playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Its sandbox needs rights that containers do not have; it sees our own page only.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
