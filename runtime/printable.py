"""Text of somebody else, for a terminal."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str, *, lines: bool = False) -> str:
    """Return ``text`` with ``?`` for all that a terminal would obey; tabs stay.

    Args:
        text: Holds words of an artifact that nobody vouches for.
        lines: Whether line ends stay, too.
    """
    kept = "\t\n" if lines else "\t"
    return "".join(letter if letter.isprintable() or letter in kept else "?" for letter in text)
