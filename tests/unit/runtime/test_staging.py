from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from runtime.errors import ConfigError
from runtime.staging import (
    check_free,
    file_digest,
    new_folder,
    read_plain,
    scratch_folder,
    write_text,
)


def test_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out"
    with new_folder(target) as staged:
        (staged / "sub").mkdir()
        (staged / "sub" / "a").write_text("1")
        assert not target.exists()
    assert (target / "sub" / "a").read_text() == "1"
    assert stat.S_IMODE(target.stat().st_mode) == 0o755
    assert [path.name for path in target.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("existing", [False, True])
def test_an_error_leaves_nothing(
    tmp_path: Path, error: type[BaseException], existing: bool
) -> None:
    target = tmp_path / "out"
    if existing:
        target.mkdir()
        (target / "old").write_text("old")

    def work() -> None:
        with new_folder(target, overwrite=True) as staged:
            (staged / "a").write_text("1")
            raise error

    with pytest.raises(error):
        work()
    assert [path.name for path in tmp_path.iterdir()] == (["out"] if existing else [])
    if existing:
        assert (target / "old").read_text() == "old"


def test_scratch_is_private_and_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def work() -> None:
        with scratch_folder() as first, scratch_folder() as second:
            (first / "a").write_text("1")
            assert first != second
            assert first.parent == second.parent == tmp_path
            assert stat.S_IMODE(first.stat().st_mode) == 0o700
            raise ValueError("oh")

    with pytest.raises(ValueError, match="oh"):
        work()
    assert not any(tmp_path.iterdir())


def test_ctrl_c_while_a_folder_is_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mkdir = Path.mkdir

    def interrupted(folder: Path, *args: int, **options: int) -> None:
        mkdir(folder, *args, **options)
        if folder != tmp_path:
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "mkdir", interrupted)

    def work(folder: AbstractContextManager[Path]) -> None:
        with folder:
            pytest.fail("it was made")

    for folder in (scratch_folder(), new_folder(tmp_path / "out")):
        with pytest.raises(KeyboardInterrupt):
            work(folder)
        assert not any(tmp_path.iterdir())


def test_overwrite_replaces(tmp_path: Path) -> None:
    target = tmp_path / "out"
    for text in ("1", "2"):
        with new_folder(target, overwrite=True) as staged:
            (staged / text).write_text(text)
    assert [path.name for path in target.iterdir()] == ["2"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failed_swap_puts_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    with new_folder(target) as staged:
        (staged / "old").write_text("old")
    replace = Path.replace

    def fail_on_the_new_one(self: Path, to: Path) -> Path:
        if self.name.endswith(".partial"):
            raise OSError("disk full")
        return replace(self, to)

    monkeypatch.setattr(Path, "replace", fail_on_the_new_one)
    with pytest.raises(OSError, match="disk full"), new_folder(target, overwrite=True):
        pass
    assert [path.name for path in target.iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def fill_both(target: Path) -> None:
    """Make ``target`` with new_folder, while somebody else makes it as well."""
    with new_folder(target) as staged:
        (staged / "mine").write_text("1")
        target.mkdir()
        (target / "theirs").write_text("2")


def test_a_folder_that_appeared_meanwhile_stays(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(ConfigError, match="is not empty"):
        fill_both(target)
    assert [path.name for path in target.iterdir()] == ["theirs"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_empty_folder_is_filled(tmp_path: Path, overwrite: bool) -> None:
    target = tmp_path / "out"
    target.mkdir()
    with new_folder(target, overwrite=overwrite) as staged:
        (staged / "mine").write_text("1")
    assert [path.name for path in target.iterdir()] == ["mine"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_name_that_is_taken_while_it_is_given_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    monkeypatch.setattr("runtime.staging.check_free", lambda *_, **__: None)
    with pytest.raises(ConfigError, match="cannot be made"):
        fill_both(target)
    assert [path.name for path in target.iterdir()] == ["theirs"]


def test_check_free(tmp_path: Path) -> None:
    check_free(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    check_free(tmp_path / "empty")
    with pytest.raises(ConfigError, match="--overwrite"):
        check_free(tmp_path)
    check_free(tmp_path, overwrite=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="not a folder"):
        check_free(tmp_path / "file", overwrite=True)
    for below in ("new", "deep/new"):
        with pytest.raises(ConfigError, match=r"new cannot be made: .*/file is a file; choose"):
            check_free(tmp_path / "file" / below)


def test_a_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"), new_folder(tmp_path / "file" / "x"):
        pass


def test_write_text(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_text(path, "京")
    write_text(path, "沪")
    assert path.read_bytes() == "沪".encode()
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_bytes() == "沪".encode()
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_file_digest(tmp_path: Path) -> None:
    content = b"x" * (3 << 20)
    (tmp_path / "f").write_bytes(content)
    assert file_digest(tmp_path / "f") == hashlib.sha256(content).hexdigest()


def test_plain_files_are_read_up_to_a_size(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_plain(path, largest_bytes=5) == b"12345"
    with pytest.raises(OSError, match="has 5 bytes, more than 4"):
        read_plain(path, largest_bytes=4)


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_nothing_but_plain_files_is_read(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "a")
    with pytest.raises(OSError, match=r"not a plain file|symbolic links"):
        read_plain(tmp_path / "a", largest_bytes=10)
    with pytest.raises(FileNotFoundError):
        read_plain(tmp_path / "b", largest_bytes=10)


@pytest.mark.parametrize("above", [".", "..", "../.."])
@pytest.mark.parametrize("overwrite", [False, True])
def test_the_working_folder_is_no_output(
    tmp_path: Path, above: str, overwrite: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    with (
        pytest.raises(ConfigError, match="working folder"),
        new_folder(Path(above), overwrite=overwrite),
    ):
        pass
    with new_folder(Path("out")) as folder:
        (folder / "x").touch()
    assert (tmp_path / "a" / "b" / "out" / "x").exists()


def test_nothing_can_be_written_and_the_reason_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nosuch"):
        write_text(tmp_path / "nosuch" / "x.txt", "x")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        write_text(tmp_path / "file" / "x.txt", "x")
