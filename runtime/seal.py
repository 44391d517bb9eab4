"""A text that holds its own SHA-256, so that a damaged byte of it is found.

The other files of an artifact are named with their digests in the manifest; the manifest is named
nowhere, and a digit of a threshold or a letter of a label may change without making it invalid. A
seal shows damage, not origin: whoever changes the text on purpose can seal it again.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

__all__ = ["UNSEALED", "seal", "sealed"]

UNSEALED: Final = "0" * 64
"""Stands in the text where the digest will be, after anything else of this form."""


def seal(text: str) -> str:
    """Put the digest of ``text``, UTF-8, in the place of its last ``UNSEALED``."""
    before, _, after = text.rpartition(UNSEALED)
    return f"{before}{sha256(text.encode()).hexdigest()}{after}"


def sealed(text: str, digest: str) -> bool:
    """Whether ``digest`` is what ``seal`` put into ``text``."""
    before, found, after = text.rpartition(digest)
    return bool(found) and sha256(f"{before}{UNSEALED}{after}".encode()).hexdigest() == digest
