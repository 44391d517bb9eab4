from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runtime.errors import ConfigError
from runtime.gateway.serve.options import ServeOptions, is_local
from tests.serving import TOKEN


@pytest.mark.parametrize(
    "options",
    [
        {"port": -1},
        {"port": 65536},
        {"timeout_s": 0},
        {"timeout_s": float("nan")},
        {"receive_timeout_s": 0},
        {"keep_alive_s": 0},
        {"max_body_mb": 0},
        {"max_picture_mpx": 1e9},
        {"max_batch": 0},
        {"max_in_flight": 0},
        {"max_connections": 0},
        {"workers": 0},
        {"host": ""},
        {"host": "a\nb"},
        {"model": "a/b"},
        {"tls_key": "key.pem"},
        {"tls_certificate": "certificate.pem"},
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ServeOptions(**options)


def test_nobody_serves_the_world_by_accident() -> None:
    with pytest.raises(ConfigError, match=r"other machines reach 0\.0\.0\.0"):
        ServeOptions(host="0.0.0.0")
    ServeOptions(host="0.0.0.0", allow_anonymous=True)
    ServeOptions(host="0.0.0.0", token_variable="T")
    with pytest.raises(ConfigError, match="allow_reload needs a token"):
        ServeOptions(allow_reload=True, allow_anonymous=True)


def test_a_token_comes_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert ServeOptions(token_file=str(file)).read_token() == TOKEN.encode()
    monkeypatch.setenv("T", TOKEN)
    assert ServeOptions(token_variable="T").read_token() == TOKEN.encode()
    assert ServeOptions().read_token() is None
    file.write_text("short")
    with pytest.raises(ConfigError, match="16 bytes"):
        ServeOptions(token_file=str(file)).read_token()
    with pytest.raises(ConfigError, match="cannot be read"):
        ServeOptions(token_file=str(tmp_path / "none")).read_token()


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.evil.example", False),
        ("gateway", False),
    ],
)
def test_only_the_loopback_is_local(host: str, local: bool) -> None:
    assert is_local(host) is local
