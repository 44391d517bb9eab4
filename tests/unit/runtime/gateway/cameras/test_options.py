from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runtime.errors import ConfigError
from runtime.gateway.cameras import CameraOptions

URL = "rtsp://cam/s"


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "a b"},
        {"name": "x" * 65},
        {"url": "gopher://cam"},
        {"fps": -1},
        {"fps": float("nan")},
        {"stall_s": 0},
        {"stall_s": float("inf")},
        {"threads": 0},
        {"transport": "quic"},
        {"retry_first_s": 3.0, "retry_most_s": 2.0},
        {"size": "1280"},
        {"username": "admin"},
        {"password_file": "p"},
        {"username": "admin", "password_file": "p", "password_variable": "P"},
        {"username": "admin", "password_file": "p", "url": "rtsp://a:b@cam/s"},
        {"username": "admin", "password_file": "p", "url": "video.mp4"},
    ],
)
def test_what_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        CameraOptions(**{"name": "gate", "url": URL, **wrong})


def test_no_message_holds_a_login() -> None:
    with pytest.raises(ConfigError) as caught:
        CameraOptions(name="gate", url="gopher://admin:geheim@cam/s")
    assert "geheim" not in str(caught.value)
    assert "***@cam" in str(caught.value)


def test_neither_does_its_representation() -> None:
    options = CameraOptions(name="gate", url="rtsp://admin:geheim@cam/s", fps=5)
    assert "geheim" not in f"{options!r} {options}"
    assert "fps=5" in repr(options)
    assert options.shown_url == "rtsp://***@cam/s"


def test_passwords_are_read_for_every_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "password"
    options = CameraOptions(name="gate", url=URL, username="me@home", password_file=str(path))
    path.write_text("a:b/ç\n", encoding="utf-8")
    assert options.full_url() == "rtsp://me%40home:a%3Ab%2F%C3%A7@cam/s"
    path.write_text("new", encoding="utf-8")
    assert options.full_url() == "rtsp://me%40home:new@cam/s"

    options = CameraOptions(name="gate", url=URL, username="me", password_variable="GATE_WORD")
    with pytest.raises(ConfigError, match="GATE_WORD"):
        options.full_url()
    monkeypatch.setenv("GATE_WORD", "geheim")
    assert options.full_url() == "rtsp://me:geheim@cam/s"


def test_without_a_username_the_url_is_as_written() -> None:
    assert CameraOptions(name="gate", url="rtsp://a:b@cam/s").full_url() == "rtsp://a:b@cam/s"
