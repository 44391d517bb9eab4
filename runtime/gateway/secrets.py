"""Passwords and keys: named in options, read from the environment or a file, never shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from runtime.errors import ConfigError
from runtime.staging import read_plain

__all__ = ["read_secret"]

_LARGEST_BYTES: Final = 64 << 10


def read_secret(what: str, *, variable: str = "", file: str = "", least: int = 1) -> bytes | None:
    """Return a secret without the line end after it; None where neither place is named.

    Args:
        what: What it is, for messages.
        variable: Name of an environment variable.
        file: Path of a plain file, such as systemd's ``LoadCredential`` makes them.
        least: The fewest bytes to accept.

    Raises:
        ConfigError: both places are named, the one that is cannot be read, or the secret is
            shorter than allowed.
    """
    if variable and file:
        raise ConfigError(f"{what}: name a variable or a file, not both")
    if variable:
        if variable not in os.environ:
            raise ConfigError(f"{what}: the environment has no variable {variable}")
        secret = os.environb[variable.encode()]
    elif file:
        try:
            secret = read_plain(Path(file), largest_bytes=_LARGEST_BYTES)
        except OSError as error:
            raise ConfigError(f"{what}: {file} cannot be read: {error}") from error
    else:
        return None
    secret = secret.rstrip(b"\r\n")
    if len(secret) < least:
        raise ConfigError(f"{what}: expected {least} bytes or more, got {len(secret)}")
    return secret
