from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.gateway.cameras import CameraOptions
from runtime.gateway.cameras.opening import needs_av
from runtime.gateway.cameras.source import Arrival, Broken, End, Recovery
from runtime.gateway.cameras.stills import Stills


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, value in (("b.png", 2), ("a.PNG", 1), ("c.png", 3)):
        cv2.imwrite(str(tmp_path / name), np.full((20, 30, 3), value, np.uint8))
    (tmp_path / "d.jpg").write_bytes(b"no picture")
    (tmp_path / "notes.md").write_text("no picture either")
    return tmp_path


def read_all(source: Stills) -> list[Arrival]:
    arrivals = []
    with suppress(End):
        while True:
            arrivals.append(source.read())
    return arrivals


def values(arrivals: list[Arrival]) -> list[int]:
    return [int(p.image()[0, 0, 0]) for arrival in arrivals for p in arrival.pictures]


def options(path: Path, **more: float) -> CameraOptions:
    return CameraOptions(name="stills", url=str(path), **more)


def test_a_folder_in_the_order_of_names(folder: Path) -> None:
    source = Stills(options(folder, fps=4))
    assert source.description == "4 pictures"
    arrivals = read_all(source)
    assert values(arrivals) == [1, 2, 3]
    assert [a.decode_errors for a in arrivals] == [0, 0, 0, 1]
    picture = arrivals[1].pictures[0]
    assert (picture.time_s, picture.size, picture.key) == (0.25, (30, 20), True)
    assert picture.pixels().shape == (20, 30, 3)


def test_a_list_in_its_own_order(folder: Path) -> None:
    path = folder / "list.tsv"
    path.write_text("c.png\t12\tabc\n\na.PNG\t3\nmissing.png\n", encoding="utf-8")
    arrivals = read_all(Stills(options(path)))
    assert values(arrivals) == [3, 1]
    assert arrivals[2].decode_errors == 1
    assert arrivals[1].pictures[0].time_s == 1.0


def test_nothing_to_show(tmp_path: Path) -> None:
    empty = tmp_path / "list.txt"
    empty.write_text("\n")
    for path in (tmp_path, empty, tmp_path / "missing.txt"):
        with pytest.raises(Broken) as caught:
            Stills(options(path))
        assert caught.value.recovery is Recovery.NEVER


def test_pictures_need_no_video_library(folder: Path) -> None:
    assert not needs_av(options(folder))
    assert not needs_av(options(folder / "list.tsv"))
    assert needs_av(options(folder / "a.mp4"))
    assert needs_av(CameraOptions(name="x", url="rtsp://cam"))
