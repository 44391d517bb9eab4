from __future__ import annotations

from pathlib import Path

import pytest

from runtime.errors import ConfigError
from runtime.gateway.secrets import read_secret


def test_from_a_file_or_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_bytes(b"from file\r\n")
    monkeypatch.setenv("HEADLIGHT_TEST_SECRET", "from variable")
    assert read_secret("it", file=str(tmp_path / "secret")) == b"from file"
    assert read_secret("it", variable="HEADLIGHT_TEST_SECRET") == b"from variable"
    assert read_secret("it") is None


def test_errors_never_hold_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADLIGHT_TEST_SECRET", "hunter2")
    monkeypatch.delenv("HEADLIGHT_TEST_NOTHING", raising=False)
    bad: list[dict[str, str | int]] = [
        {"variable": "HEADLIGHT_TEST_SECRET", "file": "also"},
        {"variable": "HEADLIGHT_TEST_NOTHING"},
        {"variable": "HEADLIGHT_TEST_SECRET", "least": 16},
        {"file": str(tmp_path / "missing")},
        {"file": str(tmp_path)},
    ]
    for options in bad:
        with pytest.raises(ConfigError) as caught:
            read_secret("it", **options)  # type: ignore[arg-type]
        assert "hunter2" not in str(caught.value)
