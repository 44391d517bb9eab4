"""What of a text may leave the reader: all of it, some of its characters, or a keyed hash.

Number plates are personal data (GDPR, article 4(1), as the authorities read it), and there are few
enough of them to try them all: hashed without a key, every plate of a country can be turned back
within minutes. With a secret key the same plate has the same code, so that visits can be counted
and matched, and only who has the key can test whether a code is a given plate. Such codes are
pseudonyms, not anonymous: delete or change the key to make them so.

Whoever may see the texts may see pictures of them as well, and nobody else may; so there are no
pictures unless texts are clear.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from runtime.errors import ConfigError

from .secrets import read_secret

__all__ = ["Privacy", "PrivacyOptions"]

_TEXTS: Final = ("clear", "masked", "hashed")
_SHORTEST_KEY: Final = 16
_MASK: Final = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyOptions:
    """How texts leave the reader, in events, on pages and wherever else.

    Raises:
        ConfigError: an unknown way, a value out of range, or hashes without a key.
    """

    text: str = "clear"
    """``clear``, ``masked`` (``苏A1***5``) or ``hashed`` (HMAC-SHA256)."""
    keep_first: int = 2
    """Characters at the beginning that a mask leaves, >= 0."""
    keep_last: int = 1
    """Characters at the end that a mask leaves, >= 0."""
    key_file: str = ""
    """File with the key of the hashes, at least 16 random bytes (``openssl rand -hex 32``)."""
    digits: int = 16
    """Hexadecimal digits of a hash that are kept, 8 to 64. With 16, two of a million plates have
    the same code with a probability of 3e-8."""

    def __post_init__(self) -> None:
        if self.text not in _TEXTS:
            raise ConfigError(f"privacy: text must be one of {_TEXTS}, got {self.text!r}")
        if self.keep_first < 0 or self.keep_last < 0 or not 8 <= self.digits <= 64:
            raise ConfigError(
                "privacy: keep_first and keep_last must be >= 0 and digits in 8 to 64, got "
                f"{self.keep_first}, {self.keep_last} and {self.digits}"
            )
        if (self.text == "hashed") != bool(self.key_file):
            raise ConfigError(
                "privacy: key_file belongs to text = 'hashed' and to nothing else; without a key, "
                "hashes of all plates are tried within minutes"
            )


class Privacy:
    """Applies the options; any thread may call.

    Raises:
        ConfigError: the key cannot be read, or is too short.
    """

    def __init__(self, options: PrivacyOptions) -> None:
        self._options = options
        self._key = read_secret("the key of hashes", file=options.key_file, least=_SHORTEST_KEY)

    @property
    def pictures(self) -> bool:
        """Whether pictures of what was read may be kept and shown."""
        return self._options.text == "clear"

    def text(self, text: str | None) -> str | None:
        """Return what may be told of a text.

        Masks have the length of the text; one that would leave everything leaves nothing. Hashes
        are of the UTF-8 of the text as it is, unsure positions (``?``) included.
        """
        if not text:
            return text
        if self._options.text == "masked":
            return _masked(text, self._options.keep_first, self._options.keep_last)
        if self._key is not None:
            code = hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()
            return code[: self._options.digits]
        return text


def _masked(text: str, first: int, last: int) -> str:
    hidden = len(text) - first - last
    if hidden <= 0:
        return _MASK * len(text)
    return text[:first] + _MASK * hidden + text[len(text) - last :]
