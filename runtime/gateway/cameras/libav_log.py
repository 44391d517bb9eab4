"""What FFmpeg says while a camera is read: taken in by its thread, never printed.

FFmpeg's lines hold addresses with their logins, and a damaged stream gives thousands of them. PyAV
hands them over per thread; a camera's are looked through here and forgotten.
"""

from __future__ import annotations

import logging
import re
from typing import Any, Final

__all__ = ["LibavLog"]

_LOSS: Final = re.compile(r"RTP: missed \d+ packets")
_KEPT_LETTERS: Final = 120


class LibavLog:
    """Takes in the lines of the thread that made it, until ``close`` in the same thread.

    Args:
        av: The module.
    """

    def __init__(self, av: Any) -> None:
        _keep_quiet(av)
        self._error_level = av.logging.ERROR
        self._capture = av.logging.Capture()
        self._lines: list[tuple[int, str, str]] = self._capture.__enter__()

    def take_losses(self) -> int:
        """Return how often the demuxer missed packets since the last call; forget the lines."""
        if not self._lines:
            return 0
        losses = sum(bool(_LOSS.search(text)) for _, _, text in self._lines)
        self._lines.clear()
        return losses

    def last_error(self) -> str:
        """Return the last line that was an error; it may hold a login."""
        errors = (text for level, _, text in self._lines[::-1] if level <= self._error_level)
        return " ".join(next(errors, "").split())[:_KEPT_LETTERS]

    def close(self) -> None:
        """Take in no more."""
        if self._capture is not None:
            self._capture.__exit__(None, None, None)
            self._capture = None


def _keep_quiet(av: Any) -> None:
    """Let PyAV collect lines at all, and print none that no camera collects.

    It does neither as it comes, so a process that set a level of its own is left as it is.
    """
    if av.logging.get_level() is not None:
        return
    # Lines of other threads, such as a decoder's, would reach stderr by logging's last resort.
    logger = logging.getLogger("libav")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    # Two cameras may say the same one after the other.
    av.logging.set_skip_repeated(False)
    av.logging.set_level(av.logging.WARNING)
