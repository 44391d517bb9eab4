"""The files of an artifact: plain ones, all listed, with the size and digest that were listed."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from .errors import IntegrityError
from .staging import file_digest

__all__ = ["FileRecord", "check_record", "check_records"]


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Size and digest of one file of an artifact."""

    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileRecord:
        """Measure a file."""
        return cls(path.stat().st_size, file_digest(path))


def check_records(folder: Path, files: Mapping[str, FileRecord], *, besides: Set[str]) -> None:
    """Compare every file with its record; no other file may be there.

    Args:
        folder: Where the files are.
        files: Their records by name.
        besides: Names of plain files that may be there unlisted.

    Raises:
        IntegrityError: a file is missing, changed, unreadable, a link, or not listed.
    """
    try:
        there = {path.name for path in folder.iterdir()}
        _compare_names(folder, there - {name for name in besides if _plain(folder / name)}, files)
        for name, expected in files.items():
            check_record(folder / name, expected)
    except OSError as error:
        raise IntegrityError(f"{folder} cannot be read: {error}") from error


def _plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _compare_names(folder: Path, there: Set[str], files: Mapping[str, FileRecord]) -> None:
    if there != set(files):
        raise IntegrityError(
            f"{folder}: missing {sorted(set(files) - there)}, not in the manifest "
            f"{sorted(there - set(files))}; copy the artifact again"
        )


def check_record(path: Path, expected: FileRecord) -> None:
    """Compare one file with its record.

    Raises:
        IntegrityError: it is changed or no plain file.
        OSError: it cannot be read.
    """
    if not _plain(path):
        raise IntegrityError(f"{path} is not a plain file; copy the artifact again")
    # The size first: hashing a file of absurd size takes hours.
    size = path.stat().st_size
    digest = file_digest(path) if size == expected.size_bytes else ""
    if digest != expected.sha256:
        raise IntegrityError(
            f"{path} was changed: expected {expected.size_bytes} bytes, sha256 "
            f"{expected.sha256[:12]}..., got {size} bytes, {digest[:12] or 'unread'}...; copy the "
            "artifact again or export anew"
        )
