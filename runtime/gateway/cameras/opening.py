"""What a camera's address names, opened."""

from __future__ import annotations

from pathlib import Path

from .addresses import Kind, file_path
from .options import CameraOptions
from .source import Source

__all__ = ["needs_av", "open_source"]


def needs_av(options: CameraOptions) -> bool:
    """Whether a camera's address is anything but pictures in files."""
    if options.kind is Kind.FILE:
        return not Path(file_path(options.url)).is_dir()
    return options.kind is not Kind.LIST


def open_source(options: CameraOptions) -> Source:
    """Open what a camera's address names.

    Raises:
        Broken: it cannot be opened.
    """
    if needs_av(options):
        from .video import Video

        return Video(options)
    from .stills import Stills

    return Stills(options)
