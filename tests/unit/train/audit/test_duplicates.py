"""Duplicates inside splits, across splits, and with different labels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.arrays import Image
from runtime.builtin_schemas import latin_plate
from tests.unit.train.audit.crops import SCHEMA, scene, survey_of
from train.audit import duplicates
from train.audit.duplicates import KINDS, Nearness, find_duplicates, shared_readings

THINGS = Nearness(8, 8)
EXACT = Nearness(-1, 0)


def noisy(image: Image, seed: int = 0) -> Image:
    noise = np.random.default_rng(seed).normal(0, 3, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def listed(found: duplicates.Duplicates) -> list[tuple[int, int, str]]:
    return [
        (int(a), int(b), KINDS[k])
        for a, b, k in zip(found.first, found.second, found.kind, strict=True)
    ]


def test_kinds_leaks_and_conflicts_worst_first(tmp_path: Path) -> None:
    survey = survey_of(
        tmp_path,
        train=[
            (scene(0), "blue"),  # 0
            (scene(1), "blue"),  # 1
            (scene(2), "red"),  # 2
            ("train-0.png", "red"),  # 3: the file of 0 with another label
        ],
        test=[
            (noisy(scene(1)), "blue"),  # 4: nearly 1
            ("train-2.png", "red"),  # 5: the file of 2
            (scene(3), "blue"),  # 6: alone
        ],
    )
    found = find_duplicates(survey, THINGS)
    assert listed(found) == [
        (0, 3, "same file"),
        (2, 5, "same file"),
        (1, 4, "nearly the same"),
    ]
    assert found.crosses.tolist() == [False, True, True]
    assert found.conflicts.tolist() == [True, False, False]
    assert found.redundant.tolist() == [3, 5]
    assert not found.cut_off


def test_same_pixels_in_another_file(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "again.png"), scene(0), [cv2.IMWRITE_PNG_COMPRESSION, 0])
    survey = survey_of(tmp_path, train=[(scene(0), "blue"), ("again.png", "blue")])
    assert listed(find_duplicates(survey, EXACT)) == [(0, 1, "same pixels")]


def test_one_shape_in_two_colours_is_not_a_duplicate(tmp_path: Path) -> None:
    grey = cv2.cvtColor(scene(0), cv2.COLOR_BGR2GRAY)
    blue, red = (np.zeros((40, 80, 3), np.uint8) for _ in range(2))
    # The grey level of both is that of half the picture's, by the weights of grey conversion.
    blue[:], red[:] = (grey[..., None] // 2,) * 2
    blue[..., 0] += 60
    red[..., 2] += 23
    survey = survey_of(tmp_path, train=[(blue, "blue"), (red, "red")])
    differ = np.bitwise_count(survey.facts.hashes[0] ^ survey.facts.hashes[1]).sum()
    assert differ <= THINGS.bits  # the hash alone takes them for one picture
    assert listed(find_duplicates(survey, THINGS)) == []
    assert listed(find_duplicates(survey, Nearness(8, 255))) == [(0, 1, "nearly the same")]


def test_blank_pictures_are_compared_exactly_alone(tmp_path: Path) -> None:
    flat = [np.full((30, 60, 3), level, np.uint8) for level in (90, 91, 91)]
    survey = survey_of(tmp_path, train=[(image, "blue") for image in flat])
    assert listed(find_duplicates(survey, Nearness(36, 255))) == [(1, 2, "same file")]


def test_texts_may_differ_more_than_things() -> None:
    texts, things = Nearness.usual(latin_plate()), Nearness.usual(SCHEMA)
    assert texts.bits > things.bits
    assert texts.colour > things.colour


def test_no_near_search_on_request(tmp_path: Path) -> None:
    survey = survey_of(tmp_path, train=[(scene(0), "blue"), (noisy(scene(0)), "blue")])
    assert len(find_duplicates(survey, THINGS)) == 1
    assert len(find_duplicates(survey, Nearness(-1, 255))) == 0


def test_search_stops_where_there_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "_MOST_PAIRS", 3)
    survey = survey_of(tmp_path, train=[(noisy(scene(0), k), "blue") for k in range(6)])
    assert find_duplicates(survey, THINGS).cut_off


def test_missing_labels_do_not_conflict(tmp_path: Path) -> None:
    rows = [(scene(0), "blue"), ("train-0.png", ",night"), ("train-0.png", "blue,dirty")]
    found = find_duplicates(survey_of(tmp_path, train=rows), EXACT)
    assert listed(found) == [(0, 1, "same file"), (0, 2, "same file")]
    # Each copy is compared with the first one that gives the label: night here, dirty there.
    assert found.conflicts.tolist() == [False, True]


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_a_conflict_is_found_whichever_copy_comes_first(
    tmp_path: Path, order: tuple[int, int, int]
) -> None:
    labels = [",night", "red,night", "blue,night"]
    rows = [(scene(0) if k == 0 else "train-0.png", labels[place]) for k, place in enumerate(order)]
    found = find_duplicates(survey_of(tmp_path, train=rows), EXACT)
    assert found.conflicts.sum() == 1


def test_labels_heads_conflict(tmp_path: Path) -> None:
    rows = [(scene(0), ",night"), ("train-0.png", ",dirty")]
    assert find_duplicates(survey_of(tmp_path, train=rows), EXACT).conflicts.tolist() == [True]


def test_texts_in_several_splits(tmp_path: Path) -> None:
    survey = survey_of(
        tmp_path,
        latin_plate(),
        train=[(scene(0), "AB12"), (scene(1), "CD34")],
        validation=[(scene(2), "EF56")],
        test=[(scene(3), "CD34"), (scene(4), "CD34"), (scene(5), "EF56"), (scene(6), "GH78")],
    )
    found = {
        tuple(item["splits"]): (item["texts"], item["crops"]) for item in shared_readings(survey)
    }
    assert found == {
        ("train", "validation"): ([], 0),
        ("train", "test"): (["CD34"], 2),
        ("validation", "test"): (["EF56"], 1),
    }


def test_attributes_are_no_texts(tmp_path: Path) -> None:
    survey = survey_of(tmp_path, train=[(scene(0), "blue")], test=[(scene(1), "blue")])
    assert shared_readings(survey) == []
