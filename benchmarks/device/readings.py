"""Files of ``/sys`` and ``/proc``: one value each, and gone or forbidden at any time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["folders", "number", "text"]


def text(path: Path) -> str | None:
    """Return what a file holds, without space around it; None where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def number(path: Path) -> int | None:
    """Return the whole number that a file holds; None where there is none."""
    try:
        return int(text(path) or "")
    except ValueError:
        return None


def folders(parent: Path, pattern: str) -> Sequence[Path]:
    """Return what matches below ``parent``, by name, numbers in their order; none without it."""
    try:
        return sorted(parent.glob(pattern), key=lambda path: (len(path.name), path.name))
    except OSError:
        return ()
