"""Pictures without labels, for distillation: from a list, or all of a folder."""

from __future__ import annotations

from pathlib import Path

from runtime.errors import DataError

from .label_encoding import Form
from .lists import written_lines
from .pictures import IMAGE_SUFFIXES
from .rows import RowBuilder, Rows

__all__ = ["unlabelled_rows"]


def unlabelled_rows(source: Path) -> Rows:
    """Return the pictures of ``source``; no picture is opened.

    Args:
        source: A folder, of which all pictures at any depth count, sorted by path; or a UTF-8 list
            with a path per line, relative to the list's folder. What follows a tab is ignored, so
            that a labelled list will do.

    Raises:
        DataError: ``source`` cannot be read or has no pictures.
    """
    rows = RowBuilder(None if source.is_dir() else source)
    if source.is_dir():
        # Sorted by parts of the path: the order is the same on every file system.
        for path in sorted(source.rglob("*")):
            if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
                rows.add(path.relative_to(source).as_posix(), "", Form.ABSENT)
        found = rows.done([source])
    else:
        for number, line in written_lines(source):
            rows.add(line.partition("\t")[0].strip("\r\n"), "", Form.ABSENT, line=number)
        found = rows.done([source.parent])
    if not len(found):
        raise DataError(
            f"{source}: no pictures; expected a folder of {', '.join(sorted(IMAGE_SUFFIXES))} "
            "files or a list with a path per line"
        )
    return found
