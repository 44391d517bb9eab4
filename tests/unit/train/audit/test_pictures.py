"""What is measured of a picture, and what its hash stands."""

from __future__ import annotations

import sys
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from runtime.arrays import Image
from runtime.errors import MissingExtraError
from tests.unit.train.audit.crops import scene
from train.audit.pictures import HASH_BITS, PictureFacts, check_imagehash, exposure


def facts_of(*images: Image) -> PictureFacts:
    facts = PictureFacts.empty(len(images))
    for index, image in enumerate(images):
        facts.put(index, image, f"file {index}".encode())
    return facts


def bits_apart(facts: PictureFacts, first: int, second: int) -> int:
    return int(np.bitwise_count(facts.hashes[first] ^ facts.hashes[second]).sum())


def recompressed(image: Image) -> Image:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 50])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def brighter(image: Image) -> Image:
    return np.asarray(cv2.convertScaleAbs(image, alpha=1.1, beta=8), np.uint8)


def halved(image: Image) -> Image:
    return np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize("change", [recompressed, brighter, halved])
def test_hash_and_colours_outlast_small_changes(change: Callable[[Image], Image]) -> None:
    for seed in range(10):
        facts = facts_of(scene(seed), change(scene(seed)), scene(100 + seed))
        assert bits_apart(facts, 0, 1) <= 12
        assert bits_apart(facts, 0, 2) > HASH_BITS // 4
        apart = np.abs(facts.colours[0].astype(int) - facts.colours[1])
        assert apart.max() <= 12


def test_same_pixels_and_same_file_are_told_apart() -> None:
    facts = PictureFacts.empty(3)
    facts.put(0, scene(0), b"one")
    facts.put(1, scene(0), b"other")
    facts.put(2, scene(0)[:, ::-1], b"one")
    assert (facts.pixels[0] == facts.pixels[1]).all()
    assert (facts.files[0] != facts.files[1]).any()
    assert (facts.pixels[0] != facts.pixels[2]).any()
    assert (facts.files[0] == facts.files[2]).all()


def test_pixels_in_another_shape_are_other_pixels() -> None:
    flat = np.full((8, 16, 3), 7, np.uint8)
    facts = facts_of(flat, flat.reshape(16, 8, 3))
    assert (facts.pixels[0] != facts.pixels[1]).any()
    assert facts.size.tolist() == [[8, 16], [16, 8]]


def test_pictures_that_show_nothing() -> None:
    blank = np.full((20, 40, 3), 90, np.uint8)
    washed, night = np.full((20, 40, 3), 255, np.uint8), np.zeros((20, 40, 3), np.uint8)
    washed[:, :6], night[:, :6] = 100, 100  # 85 % at the end of the scale
    facts = facts_of(blank, scene(1), washed, scene(2), night, scene(3), scene(4))
    named = {kind: index.tolist() for kind, index in exposure(facts).items()}
    assert named == {"blank": [0], "over-exposed": [2], "under-exposed": [4]}


def test_a_white_background_is_not_over_exposed() -> None:
    goods = np.full((40, 40, 3), 255, np.uint8)
    goods[12:28, 12:28] = 30
    assert {kind: len(index) for kind, index in exposure(facts_of(goods, goods)).items()} == {
        "blank": 0,
        "over-exposed": 0,
        "under-exposed": 0,
    }


def test_missing_imagehash_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagehash", None)
    with pytest.raises(MissingExtraError, match=r"headlight\[train\]"):
        check_imagehash()
