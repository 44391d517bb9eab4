"""Where cameras are found, and what of it may be told: addresses hold passwords.

Everything that leaves this package, in logs, states, errors and representations, goes through
``redacted`` or ``scrubbed`` first.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from runtime.errors import ConfigError

__all__ = ["Kind", "file_path", "kind_of", "redacted", "scrubbed", "with_login"]

_HIDDEN: Final = "***"
# Cameras also take logins in paths and queries: /cam?user=admin&pwd=..., /user=a_password=b_x.sdp.
_LOGIN_WORDS: Final = re.compile(
    r"((?:user(?:name)?|usr|login|account|pass\w*?|pwd|psw|token|auth\w*?|secret|session\w*?|"
    r"(?:api|access)?_?key|credentials?)=)[^&;/?#]*",
    re.IGNORECASE,
)
_LISTS: Final = (".txt", ".tsv")


class Kind(Enum):
    """What stands behind an address."""

    RTSP = "rtsp"
    HTTP = "http"
    DEVICE = "device"
    FILE = "file"
    LIST = "list"

    @property
    def live(self) -> bool:
        """Whether it goes on by itself and comes back after it broke."""
        return self in (Kind.RTSP, Kind.HTTP, Kind.DEVICE)


_SCHEMES: Final = {
    "rtsp": Kind.RTSP,
    "rtsps": Kind.RTSP,
    "http": Kind.HTTP,
    "https": Kind.HTTP,
    "v4l2": Kind.DEVICE,
    "file": Kind.FILE,
}


def kind_of(url: str) -> Kind:
    """Return what ``url`` names; nothing is opened.

    Raises:
        ConfigError: an unknown scheme, a network address without a host, or nothing at all.
    """
    scheme, mark, rest = url.partition("://")
    kind = _SCHEMES.get(scheme.lower()) if mark else Kind.FILE
    if kind is None or not (rest if mark else url) or "\0" in url:
        raise ConfigError(
            f"url {redacted(url)!r} is no camera; use rtsp://, rtsps://, http://, https://, "
            "v4l2:///dev/video0, or the path of a video, a folder of pictures or a list of them"
        )
    if kind in (Kind.RTSP, Kind.HTTP):
        _check_host(url)
    if kind is Kind.FILE:
        path = file_path(url)
        if path.startswith("/dev/video"):
            return Kind.DEVICE
        if path.lower().endswith(_LISTS):
            return Kind.LIST
    return kind


def _check_host(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, a bracket that does not close
        usable = False
    if not usable or any(letter.isspace() for letter in url):
        raise ConfigError(
            f"url {redacted(url)!r} has no usable host and port; letters of a password that mean "
            "something in URLs must be written as %XX"
        )


def file_path(url: str) -> str:
    """Return the path that ``file://``, ``v4l2://`` or a bare path names."""
    scheme, mark, rest = url.partition("://")
    return rest if mark and scheme.lower() in ("file", "v4l2") else url


def with_login(url: str, username: str, password: bytes) -> str:
    """Return ``url`` with a login in it, letters that mean something in URLs written as %XX."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{quote(username, safe='')}:{quote(password, safe='')}@{rest}"


def redacted(url: str) -> str:
    """Return ``url`` without what might be a login: in front of the host, in path or query.

    It rather hides too much than too little: a password may hold any letter, "/" and "@" too.
    """
    scheme, mark, rest = url.partition("://")
    if not mark:
        return _LOGIN_WORDS.sub(rf"\1{_HIDDEN}", url)
    login, at, place = rest.rpartition("@")
    shown = f"{_HIDDEN}@{place}" if at else login + place
    return f"{scheme}://" + _LOGIN_WORDS.sub(rf"\1{_HIDDEN}", shown)


def scrubbed(text: str, url: str) -> str:
    """Return ``text`` from a library without the login that ``url`` holds.

    Args:
        text: An error or log line, which may repeat the address or parts of it.
        url: The address that was opened, login and all.
    """
    text = text.replace(url, redacted(url))
    login, at, _ = url.partition("://")[2].rpartition("@")
    if at:
        _, _, password = login.partition(":")
        for secret in sorted({login, unquote(login), password, unquote(password)}, key=len)[::-1]:
            if secret:
                text = text.replace(secret, _HIDDEN)
    return _LOGIN_WORDS.sub(rf"\1{_HIDDEN}", text)
