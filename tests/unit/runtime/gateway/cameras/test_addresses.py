from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import ConfigError
from runtime.gateway.cameras.addresses import (
    Kind,
    file_path,
    kind_of,
    redacted,
    scrubbed,
    with_login,
)

secrets = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=6, max_size=20)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("rtsp://10.0.0.7/stream1", Kind.RTSP),
        ("RTSPS://[fe80::1]:322/a", Kind.RTSP),
        ("http://cam/video.mjpg", Kind.HTTP),
        ("https://cam:8443/", Kind.HTTP),
        ("/dev/video0", Kind.DEVICE),
        ("v4l2:///dev/video2", Kind.DEVICE),
        ("file:///videos/a.mp4", Kind.FILE),
        ("videos/a.mp4", Kind.FILE),
        ("scenes.TSV", Kind.LIST),
    ],
)
def test_kinds(url: str, kind: Kind) -> None:
    assert kind_of(url) is kind


@pytest.mark.parametrize(
    "url", ["", "file://", "ftp://cam/a", "rtsp://", "rtsp:///a", "rtsp://cam:x/", "http://[::1",
            "concat://a|b", "rtsp://cam:0/", "rtsp://us er:p@cam/", "a\0b"]
)  # fmt: skip
def test_what_is_no_camera_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="url"):
        kind_of(url)


def test_only_live_kinds_come_back() -> None:
    assert {kind for kind in Kind if kind.live} == {Kind.RTSP, Kind.HTTP, Kind.DEVICE}


def test_file_path() -> None:
    assert file_path("file:///a/b.mp4") == "/a/b.mp4"
    assert file_path("v4l2:///dev/video1") == "/dev/video1"
    assert file_path("a/b.mp4") == "a/b.mp4"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://admin:geheim@cam:554/s1", "rtsp://***@cam:554/s1"),
        ("rtsp://admin:ge/he@im@cam/s1", "rtsp://***@cam/s1"),
        ("http://cam/v?user=a&pwd=b&channel=1", "http://cam/v?user=***&pwd=***&channel=1"),
        ("rtsp://cam/user=admin_password=tlJw_channel=1.sdp", "rtsp://cam/user=***"),
        ("rtsp://cam/s?authbasic=YWRtaW4", "rtsp://cam/s?authbasic=***"),
        ("rtsp://cam/Streaming/Channels/101", "rtsp://cam/Streaming/Channels/101"),
        ("/videos/a.mp4", "/videos/a.mp4"),
    ],
)
def test_redacted(url: str, shown: str) -> None:
    assert redacted(url) == shown


@given(secrets, secrets)
def test_no_login_survives(user: str, word: str) -> None:
    url = with_login("rtsp://camera.example:554/stream", user, word.encode())
    assert redacted(url) == "rtsp://***@camera.example:554/stream"
    parts = urlsplit(url)
    assert unquote(parts.username or "") == user
    assert unquote(parts.password or "") == word


@given(secrets)
def test_nor_does_one_typed_without_escapes(word: str) -> None:
    shown = redacted(f"rtsp://admin:{word}@camera.example/stream")
    assert word not in shown.replace("camera.example/stream", "")


@given(secrets)
def test_scrubbed_lines_hold_no_login(word: str) -> None:
    url = with_login("rtsp://cam/s", "admin", word.encode())
    line = f"method DESCRIBE failed for {url} with admin:{word} and {word}"
    assert word not in scrubbed(line, url).replace("method DESCRIBE failed for", "")


def test_scrubbed_keeps_the_rest() -> None:
    line = "Connection to tcp://cam:554 failed: user admin"
    assert scrubbed(line, "rtsp://admin:geheim@cam:554/s") == line
    assert scrubbed(line, "rtsp://cam:554/s") == line
