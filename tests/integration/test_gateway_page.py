"""The status page in a real Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from runtime.errors import EngineError
from runtime.gateway.serve.view import LatestRead, VersionRow
from tests.browser import chromium
from tests.serving import CAMERA, SINK, TOKEN, FakeView, jpeg, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SCRIPT = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
READ = LatestRead(
    camera="gate",
    time=datetime(2026, 11, 21, 12, 5, tzinfo=timezone.utc),
    text="苏E8D2K3",
    confidence=0.75,
    accepted=True,
    heads={"colour": "blue"},
    latency_ms=31.5,
    thumbnail=jpeg(np.full((20, 60, 3), 60, np.uint8)),
)
VERSIONS = [
    VersionRow(name="plates-2", version=2, current=False, note="rolled back: too slow"),
    VersionRow(name="plates-1", version=1, current=True),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def errors() -> list[str]:
    """What the browser's console complained about."""
    return []


def opened(browser: Browser, url: str, errors: list[str], **options: Any) -> Page:
    page = browser.new_page(**options)
    page.set_default_timeout(10_000)
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(url)
    return page


def unlock(page: Page) -> None:
    page.fill("#token", TOKEN)
    page.click("#access button")
    page.wait_for_selector("#status:not([hidden])")


def test_the_page_shows_cameras_readings_and_sinks(browser: Browser, errors: list[str]) -> None:
    with serving(FakeView(reads=[READ], version_rows=VERSIONS)) as server:
        page = opened(browser, server.url, errors)
        page.wait_for_selector("#latest img")
        assert page.inner_text("#health") == "ready"
        assert page.inner_text("#cameras tbody").startswith("gate\n1280 × 720 px")
        assert "running" in page.inner_text("#cameras tbody")
        card = page.inner_text("#latest li")
        for text in ("苏E8D2K3", "accepted", "75.0 %", "colour: blue", "gate"):
            assert text in card
        bar, whole = (
            page.locator(f"#latest {part}").bounding_box() for part in (".bar div", ".bar")
        )
        assert bar is not None
        assert whole is not None
        assert bar["width"] == pytest.approx(0.75 * whole["width"], abs=1)
        size = page.evaluate("() => document.querySelector('#latest img').naturalWidth")
        assert size == 60
        assert "mqtt" in page.inner_text("#sinks tbody")
        assert "rolled back: too slow" in page.inner_text("#versions")
        # No button where nothing may be changed.
        assert page.locator("#versions button").count() == 0
        assert page.title() == "Headlight gateway"
        page.close()
    assert errors == []


def test_a_camera_that_goes_down_is_seen_within_two_seconds(
    browser: Browser, errors: list[str]
) -> None:
    view = FakeView()
    with serving(view) as server:
        page = opened(browser, server.url, errors)
        page.wait_for_selector("#cameras .good")
        view.camera_rows = [replace(CAMERA, state="stalled", reason="no frame for 6 s", age_s=6)]
        page.wait_for_selector("#cameras .bad", timeout=2000)
        assert "no frame for 6 s" in page.inner_text("#cameras tbody")
        assert page.inner_text("#cameras-count") == "1 of 1 down"
        assert page.title().startswith("⚠ 1 camera down")
        view.camera_rows = [CAMERA]
        page.wait_for_selector("#cameras .good", timeout=2000)
        page.close()
    assert errors == []


def test_texts_from_outside_stay_texts(browser: Browser, errors: list[str]) -> None:
    failing = replace(
        SINK, name=SCRIPT, failing_since=datetime.now(timezone.utc), last_error=SCRIPT
    )
    view = FakeView(
        camera_rows=[replace(CAMERA, name=SCRIPT, reason=SCRIPT, url=SCRIPT)],
        sink_rows=[failing],
        reads=[replace(READ, text=SCRIPT, camera=SCRIPT, heads={SCRIPT: SCRIPT}, thumbnail=None)],
        version_rows=[replace(VERSIONS[0], name=SCRIPT, note=SCRIPT)],
    )
    with serving(view) as server:
        page = opened(browser, server.url, errors)
        page.wait_for_selector("#latest .text")
        for place in ("#cameras tbody", "#latest", "#sinks tbody", "#versions"):
            assert SCRIPT in page.inner_text(place)
        assert page.locator("main script, main img").count() == 0
        assert page.title() == "⚠ 1 sink failing – Headlight gateway"
        # And if an element were made of it, the policy would not let it run.
        page.evaluate("text => { document.querySelector('main').innerHTML = text; }", SCRIPT)
        page.wait_for_timeout(200)
        assert "owned" not in page.title()
        page.close()


def test_the_button_changes_the_artifact(
    browser: Browser, errors: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_TOKEN", TOKEN)
    view = FakeView(version_rows=VERSIONS)
    with serving(view, token_variable="GATEWAY_TOKEN", allow_reload=True) as server:
        page = opened(browser, server.url, errors)
        page.wait_for_selector("#access:not([hidden])")
        assert page.is_hidden("#status")
        page.fill("#token", "wrong")
        page.click("#access button")
        page.wait_for_selector("#trouble:not([hidden])")
        assert page.inner_text("#trouble") == "This token is not the gateway's."
        unlock(page)
        page.wait_for_selector("#versions button")
        assert page.locator("#versions button").count() == 1
        page.click("#versions button")
        page.wait_for_selector("#reloaded.good")
        assert page.inner_text("#reloaded") == "plates-2 serves now"
        assert view.reloaded == ["plates-2"]

        def refuse(name: str) -> str:
            raise EngineError("golden vectors missed")

        view.on_reload = refuse
        page.click("#versions button")
        page.wait_for_selector("#reloaded.bad")
        assert "nothing changed: golden vectors missed" in page.inner_text("#reloaded")
        # The token outlives a reload of the page, but not the tab.
        page.reload()
        page.wait_for_selector("#status:not([hidden])")
        page.close()
        other = opened(browser, server.url, errors)
        other.wait_for_selector("#access:not([hidden])")
        other.close()


def test_a_gateway_that_is_gone_is_told(browser: Browser, errors: list[str]) -> None:
    with serving() as server:
        page = opened(browser, server.url, errors)
        page.wait_for_selector("#cameras .good")
    page.wait_for_selector("#trouble:not([hidden])", timeout=4000)
    assert page.inner_text("#health") == "no connection"
    assert "this is what it was then" in page.inner_text("#trouble")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_must_be_scrolled_sideways_and_all_can_be_read(
    browser: Browser, errors: list[str], width: int, scheme: Any
) -> None:
    long = "a-name-without-any-space-that-is-longer-than-a-phone-is-wide-0123456789"
    view = FakeView(
        camera_rows=[replace(CAMERA, name=long, url=f"rtsp://{long}", reason=f"{long} {long}")],
        reads=[replace(READ, text=long, heads={long: long})] * 2,
        version_rows=[replace(VERSIONS[0], name=long, note=long)],
    )
    with serving(view) as server:
        options = {"viewport": {"width": width, "height": 700}, "color_scheme": scheme}
        page = opened(browser, server.url, errors, **options)
        page.wait_for_selector("#latest img")
        wide = page.evaluate("() => document.documentElement.scrollWidth")
        contrasts = page.evaluate(CONTRASTS)
        page.close()
    assert wide <= width
    assert len(contrasts) > 30
    assert min(contrasts.values()) >= 4.5, sorted(contrasts.items(), key=lambda c: c[1])[:3]
    assert errors == []


CONTRASTS = """() => {
  // Contrast of every text with what is behind it (WCAG 2.2, 1.4.3: at least 4.5).
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = parts(colour).slice(0, 3).map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if ((parts(colour)[3] ?? 1) > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const found = {};
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let index = 0; walker.nextNode(); index += 1) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !node.offsetParent) continue;
    const pair = [light(getComputedStyle(node).color), light(behind(node))];
    found[`${index} ${walker.currentNode.textContent.trim().slice(0, 30)}`] =
      (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  }
  return found;
}"""
