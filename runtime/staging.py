"""Folders and files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import ConfigError

__all__ = [
    "check_free",
    "file_digest",
    "holds",
    "new_folder",
    "read_plain",
    "scratch_folder",
    "sync",
    "write_bytes",
    "write_text",
]


@contextmanager
def new_folder(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder that becomes ``target`` when the block ends without an error.

    On any error or Ctrl-C it is removed and ``target`` stays as it was.

    Args:
        target: The folder to make; its parents are made too.
        overwrite: Replace an existing ``target`` instead of refusing.

    Raises:
        ConfigError: ``target`` exists, before or after the block, and is neither empty nor to be
            overwritten, or its parent cannot hold it.
    """
    check_free(target, overwrite=overwrite)
    staged = _beside(target)
    try:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            staged.mkdir(mode=0o700)
        except OSError as error:
            raise ConfigError(f"{target} cannot be made: {error}; choose another output") from error
        yield staged
        staged.chmod(0o755)  # nobody else was to look into it before it is whole
        for path in [*staged.rglob("*"), staged]:
            sync(path)
        if overwrite and target.exists():
            _swap(staged, target)
        else:
            _put(staged, target)
        sync(target.parent)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise


@contextmanager
def scratch_folder(prefix: str = "headlight-") -> Iterator[Path]:
    """Yield an empty private folder among the system's temporary files; removed at the end.

    ``tempfile.TemporaryDirectory`` leaves its folder behind where Ctrl-C comes while it is made:
    this one is known by name before.
    """
    folder = Path(tempfile.gettempdir(), prefix + secrets.token_hex(8))
    try:
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _beside(target: Path) -> Path:
    """Return a free name beside the target: a rename is atomic only within one filesystem."""
    return target.parent / f".{target.name}.{secrets.token_hex(8)}.partial"


def _put(staged: Path, target: Path) -> None:
    """Rename ``staged`` to ``target``, which somebody may have made in the meantime.

    Raises:
        ConfigError: it is there now and not empty, or the file system refuses the name.
    """
    check_free(target)
    try:
        staged.replace(target)  # in the place of an empty folder, of no other
    except OSError as error:
        raise ConfigError(f"{target} cannot be made: {error}; choose another output") from error


def _swap(staged: Path, target: Path) -> None:
    """Put ``staged`` in the place of ``target``, or leave both as they were."""
    retired = _beside(target)
    try:
        retired.mkdir(mode=0o700)
        target.replace(retired / "old")
        try:
            staged.replace(target)
        except BaseException:
            (retired / "old").replace(target)
            raise
    finally:
        shutil.rmtree(retired, ignore_errors=True)


def check_free(target: Path, *, overwrite: bool = False) -> None:
    """Fail early when ``target`` cannot become a new folder.

    Raises:
        ConfigError: it exists and is neither an empty folder nor to be overwritten, it is the
            working folder or one above it, or it is below a file.
    """
    if holds(target, Path.cwd()):  # whoever works there would be left in a folder that is gone
        raise ConfigError(f"{target} is the working folder or one above it; choose another output")
    if not target.exists():
        above = next(parent for parent in target.absolute().parents if parent.exists())
        if not above.is_dir():
            raise ConfigError(f"{target} cannot be made: {above} is a file; choose another output")
        return
    if not target.is_dir():
        raise ConfigError(f"{target} exists and is not a folder; choose another output")
    if any(target.iterdir()) and not overwrite:
        raise ConfigError(
            f"{target} exists and is not empty; choose another output or pass --overwrite"
        )


def holds(folder: Path, path: Path) -> bool:
    """Whether ``path`` is ``folder`` or lies in it, links followed."""
    above, below = folder.resolve(), path.resolve()
    return above == below or above in below.parents


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` (UTF-8) in one step."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        temporary.write_bytes(content)
        sync(temporary)
        temporary.replace(path)
    finally:
        with suppress(OSError):  # where nothing can be written, nothing can be removed
            temporary.unlink(missing_ok=True)


def read_plain(path: Path, *, largest_bytes: int) -> bytes:
    """Return the content of a file that somebody else may have put there.

    Raises:
        OSError: it cannot be read, is a link, pipe, device or folder, or is larger than allowed.
    """
    # Opening a pipe waits for somebody to write into it, unless told not to.
    flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    handle = os.open(path, os.O_RDONLY | flags)
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{path} is not a plain file")
        if found.st_size > largest_bytes:
            raise OSError(f"{path} has {found.st_size} bytes, more than {largest_bytes}")
        with os.fdopen(handle, "rb", closefd=False) as stream:
            return stream.read(largest_bytes)
    finally:
        os.close(handle)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, reach the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
