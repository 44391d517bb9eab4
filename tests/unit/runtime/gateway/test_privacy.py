from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import ConfigError
from runtime.gateway.privacy import Privacy, PrivacyOptions

KEY = bytes(range(32))


def test_clear_changes_nothing() -> None:
    assert Privacy(PrivacyOptions()).text("京A12345") == "京A12345"


@pytest.mark.parametrize(
    ("first", "last", "masked"),
    [(2, 1, "京A****5"), (0, 0, "*******"), (1, 0, "京******"), (0, 2, "*****45"),
     (4, 4, "*******"), (7, 0, "*******")],
)  # fmt: skip
def test_masks_leave_the_ends_and_never_all(first: int, last: int, masked: str) -> None:
    options = PrivacyOptions(text="masked", keep_first=first, keep_last=last)
    assert Privacy(options).text("京A12345") == masked


@given(st.text(min_size=1, max_size=12), st.integers(0, 6), st.integers(0, 6))
def test_masks_hide_at_least_one_character(text: str, first: int, last: int) -> None:
    masked = Privacy(PrivacyOptions(text="masked", keep_first=first, keep_last=last)).text(text)
    assert masked is not None
    assert len(masked) == len(text)
    assert "*" in masked


def test_hashes_are_keyed_and_repeatable(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(KEY + b"\n")
    privacy = Privacy(PrivacyOptions(text="hashed", key_file=str(key), digits=20))
    expected = hmac.new(KEY, "京A12345".encode(), hashlib.sha256).hexdigest()[:20]
    assert privacy.text("京A12345") == expected
    assert hashlib.sha256("京A12345".encode()).hexdigest()[:20] != expected
    key.write_bytes(bytes(32))
    other = Privacy(PrivacyOptions(text="hashed", key_file=str(key), digits=20))
    assert other.text("京A12345") != expected


def test_nothing_read_stays_nothing() -> None:
    assert Privacy(PrivacyOptions(text="masked")).text(None) is None
    assert Privacy(PrivacyOptions(text="masked")).text("") == ""


@pytest.mark.parametrize(("way", "shown"), [("clear", True), ("masked", False)])
def test_pictures_go_with_clear_texts_only(way: str, shown: bool) -> None:
    assert Privacy(PrivacyOptions(text=way)).pictures is shown


@pytest.mark.parametrize(
    "options",
    [{"text": "secret"}, {"text": "hashed"}, {"key_file": "key"}, {"keep_first": -1},
     {"digits": 4}, {"text": "masked", "key_file": "key"}],
)  # fmt: skip
def test_refuses_what_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        PrivacyOptions(**options)


@pytest.mark.parametrize("content", [None, b"short", b"fifteen bytes..\n"])
def test_a_key_must_be_there_and_long(content: bytes | None, tmp_path: Path) -> None:
    key = tmp_path / "key"
    if content is not None:
        key.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        Privacy(PrivacyOptions(text="hashed", key_file=str(key)))
    assert "fifteen" not in str(caught.value)
