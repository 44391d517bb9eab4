from __future__ import annotations

import errno
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import cv2
import numpy as np
import pytest

from runtime.errors import ConfigError
from runtime.gateway.pictures import PictureOptions, Pictures, jpeg, surroundings
from tests.painted import BEGIN, blank

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
QUAD = np.asarray([[20, 10], [60, 10], [60, 30], [20, 30]], np.float32)


def name(number: int) -> str:
    return str(UUID(int=number))


class Folder:
    """A folder of pictures with a clock that tests set."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.path, self.now = path, BEGIN
        self.pictures = Pictures(PictureOptions(folder=str(path), **options), now=lambda: self.now)

    def keep(self, number: int, after: timedelta = timedelta()) -> str:
        kept = self.pictures.keep(name(number), BEGIN + after, IMAGE)
        assert kept is not None
        return kept

    @property
    def files(self) -> list[str]:
        files = (path for path in self.path.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.path).as_posix() for path in files)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "pictures", keep_hours=2)


def test_a_picture_by_day_for_its_owner_alone(folder: Folder) -> None:
    kept = folder.keep(1)
    assert kept == f"2026-11-21/080000.000000-{name(1)}.jpg"
    assert folder.files == [kept]
    path = folder.path / kept
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert cv2.imread(str(path)).shape == IMAGE.shape
    status = folder.pictures.status()
    assert (status.kept, status.bytes, status.reason) == (1, path.stat().st_size, None)


def test_old_pictures_go_also_at_the_start(folder: Folder) -> None:
    folder.keep(1)
    late = folder.keep(2, timedelta(hours=1))
    folder.now = BEGIN + timedelta(hours=2, seconds=1)
    again = Folder(folder.path, keep_hours=2)
    again.now = folder.now
    again.pictures.start()
    again.pictures.stop()
    assert again.files == [late]
    status = again.pictures.status()
    assert (status.deleted, status.bytes) == (1, (folder.path / late).stat().st_size)


def test_deletion_goes_over_midnight_and_leaves_no_empty_days(folder: Folder) -> None:
    folder.keep(1, timedelta(hours=15.5))  # 23:30
    late = folder.keep(2, timedelta(hours=16.5))  # 00:30 of the next day
    folder.now = BEGIN + timedelta(hours=18)
    folder.pictures.clean()
    assert folder.files == [late]
    assert [day.name for day in folder.path.iterdir()] == ["2026-11-22"]


def test_the_cap_drops_the_oldest(tmp_path: Path) -> None:
    size = len(jpeg(IMAGE, quality=85))
    folder = Folder(tmp_path, max_bytes=10 * size)
    kept = [folder.keep(n, timedelta(seconds=n)) for n in range(25)]
    assert sum((tmp_path / path).stat().st_size for path in folder.files) <= 10 * size
    assert folder.files == kept[-len(folder.files) :]
    assert len(folder.files) >= 9
    assert folder.pictures.status().deleted == 25 - len(folder.files)


def test_what_others_put_there_stays(folder: Folder) -> None:
    folder.keep(1)
    day = folder.path / "2020-01-01"
    day.mkdir()
    strangers = [folder.path / "notes.txt", day / "holiday.jpg", folder.path / "old"]
    for stranger in strangers[:2]:
        stranger.write_text("mine")
    strangers[2].mkdir()
    folder.now = BEGIN + timedelta(days=9)
    folder.pictures.clean(begin=True)
    assert all(stranger.exists() for stranger in strangers)
    assert folder.files == ["2020-01-01/holiday.jpg", "notes.txt"]


def test_halves_of_a_process_that_was_killed_are_removed(folder: Folder) -> None:
    kept = folder.path / folder.keep(1)
    half = kept.with_name(f"080000.000001-{name(2)}.jpg.partial")
    half.write_bytes(b"half")
    folder.pictures.clean(begin=True)
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


def test_a_full_disk_leaves_nothing_and_is_told(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert folder.pictures.keep(name(1), BEGIN, IMAGE) is None
    assert folder.files == []
    status = folder.pictures.status()
    assert (status.kept, status.failed, status.bytes) == (0, 1, 0)
    assert "space" in str(status.reason)
    folder.keep(2)
    assert folder.pictures.status().reason is None


@pytest.mark.parametrize("clock", [datetime(1970, 1, 1, tzinfo=BEGIN.tzinfo), BEGIN])
def test_a_clock_that_is_behind_deletes_nothing(folder: Folder, clock: datetime) -> None:
    kept = folder.keep(1, timedelta(hours=1))
    folder.now = clock
    folder.pictures.clean(begin=True)
    assert folder.files == [kept]


def test_pictures_are_deleted_while_nothing_happens(tmp_path: Path) -> None:
    folder = Folder(tmp_path, keep_hours=0.1 / 3600)  # looks every 5 ms
    folder.keep(1)
    folder.pictures.start()
    folder.now = BEGIN + timedelta(seconds=1)
    for _ in range(1000):
        if not folder.files:
            break
        folder.pictures._stopping.wait(0.01)
    folder.pictures.stop()
    assert folder.files == []


def test_surroundings_stay_in_the_frame() -> None:
    image = blank(100, 200)
    assert surroundings(image, QUAD, margin=0, largest_px=640).shape == (20, 40, 3)
    assert surroundings(image, QUAD, margin=0.5, largest_px=640).shape == (40, 80, 3)
    assert surroundings(image, QUAD, margin=10, largest_px=640).shape == (100, 200, 3)
    assert surroundings(image, QUAD, margin=10, largest_px=50).shape == (25, 50, 3)
    outside = QUAD + np.float32(1000)
    assert surroundings(image, outside, margin=0, largest_px=640).shape == (1, 1, 3)


@pytest.mark.parametrize(
    "options",
    [{"quality": 0}, {"margin": -1}, {"largest_px": 8}, {"keep_hours": 0}, {"max_bytes": 0},
     {"keep_hours": float("nan")}],
)  # fmt: skip
def test_refuses_what_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        PictureOptions(**options)


def test_a_store_needs_a_folder() -> None:
    with pytest.raises(ConfigError, match="folder"):
        Pictures(PictureOptions())
