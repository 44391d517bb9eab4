"""The calibration set: the user's own crops, every class among them, the same for the same seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.labelled import read_labelled
from compress.quantize.calibration import MINIMUM, PER_CLASS, Calibration, draw_calibration, shares
from runtime.arrays import Images
from runtime.errors import ConfigError, DataError
from runtime.schema import Head, HeadKind, Schema
from tests.slimming import SCHEMA, SPEC, write_lamps


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three lists of 60, 40 and 5 crops."""
    folder = tmp_path_factory.mktemp("lists")
    return [write_lamps(folder / str(n), n, seed=n) for n in (60, 40, 5)]


def draw(sources: list[Path], count: int, seed: int = 0, schema: Schema = SCHEMA) -> Calibration:
    return draw_calibration(sources, schema, SPEC, count=count, seed=seed)


def counts(images: Images, sources: list[Path]) -> list[int]:
    """How many of ``images`` came from each source."""
    where = {
        image.tobytes(): index
        for index, source in enumerate(sources)
        for image in read_labelled(source, SCHEMA).fitted(SPEC)
    }
    return np.bincount([where[image.tobytes()] for image in images], minlength=3).tolist()


def test_each_list_gives_an_even_share_without_repeats(lists: list[Path]) -> None:
    images = draw(lists[:2], 40).images
    assert images.shape == (40, 16, 32, 3)
    assert counts(images, lists) == [20, 20, 0]
    assert len({image.tobytes() for image in images}) == 40


def test_others_fill_up_what_a_short_list_lacks(lists: list[Path]) -> None:
    assert counts(draw(lists, 45).images, lists) == [20, 20, 5]
    assert counts(draw(lists, 100).images, lists) == [55, 40, 5]
    assert counts(draw(lists, 1000).images, lists) == [60, 40, 5]
    # 5 + 30 of 60: enough, although the short list does not reach its half.
    assert counts(draw([lists[2], lists[0]], 35).images, lists) == [30, 0, 5]


@given(
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=6),
    count=st.integers(1, 200),
    data=st.data(),
)
def test_shares_are_even_and_as_many_as_there_are(
    sizes: list[int], count: int, data: st.DataObject
) -> None:
    drawn = st.tuples(*(st.integers(0, size) for size in sizes))
    taken = data.draw(drawn.filter(lambda each: sum(each) <= count))
    found = shares(sizes, count, taken)
    assert sum(found) == min(count, sum(sizes))
    assert all(a <= b <= c for a, b, c in zip(taken, found, sizes, strict=True))
    # What was drawn on top of ``taken`` went where least was: nobody who got more stands above
    # one that could have given.
    open_ = [share for share, size in zip(found, sizes, strict=True) if share < size]
    grown = [share for share, before in zip(found, taken, strict=True) if share > before]
    assert not open_ or not grown or max(grown) <= min(open_) + 1


# ---- classes ----------------------------------------------------------------------------------


def write_list(folder: Path, labels: Sequence[str]) -> Path:
    folder.mkdir()
    rows = []
    for index, label in enumerate(labels):
        cv2.imwrite(str(folder / f"{index}.png"), np.full(SPEC.shape, index % 256, np.uint8))
        rows.append(f"{index}.png\t{label}\n")
    (folder / "labels.tsv").write_text("".join(rows), encoding="utf-8")
    return folder


def drawn_labels(found: Calibration, labels: Sequence[str]) -> list[str]:
    """Labels of the crops drawn: the grey value of a crop is its place in the list."""
    return [labels[int(image[0, 0, 0])] for image in found.images]


def test_rare_classes_of_every_head_are_drawn(tmp_path: Path) -> None:
    labels = ["blue,left"] * 200 + ["red,left"] * 3 + ["blue,right"] * 2 + ["green,left"] * 40
    found = draw([write_list(tmp_path / "a", labels)], MINIMUM)
    chosen = drawn_labels(found, labels)
    assert chosen.count("red,left") == 3  # all that there are
    assert chosen.count("blue,right") == 2
    assert chosen.count("green,left") >= PER_CLASS
    assert len(chosen) == MINIMUM
    assert found.missing == {}


def test_classes_that_the_lists_do_not_have_are_named(tmp_path: Path) -> None:
    labels = ["blue,left", "green,left"] * 20
    found = draw([write_list(tmp_path / "a", labels)], MINIMUM)
    assert found.missing == {"colour": ["red"], "side": ["right"]}
    assert found.to_object() == {
        "crops": MINIMUM,
        "sha256": found.digest,
        "missing": {"colour": ["red"], "side": ["right"]},
    }


def test_sets_of_labels_count_what_is_present(tmp_path: Path) -> None:
    schema = Schema(
        name="extras", heads=(Head(name="extras", kind=HeadKind.LABELS, labels=("a", "b", "c")),)
    )
    labels = ["-"] * 100 + ["a|b", "b"] + ["a"] * 50
    found = draw([write_list(tmp_path / "a", labels)], MINIMUM, schema=schema)
    chosen = drawn_labels(found, labels)
    assert {"a|b", "b"} <= set(chosen)
    assert found.missing == {"extras": ["c"]}


@pytest.mark.parametrize("rare", ["dirty", "-"])
def test_a_yes_or_no_is_shown_by_both_its_values(tmp_path: Path, rare: str) -> None:
    head = Head(name="extras", kind=HeadKind.LABELS, labels=("dirty",))
    schema = Schema(name="one", heads=(head,))
    labels = [{"dirty": "-", "-": "dirty"}[rare]] * 200 + [rare] * 3
    found = draw([write_list(tmp_path / "a", labels)], MINIMUM, schema=schema)
    assert drawn_labels(found, labels).count(rare) == 3
    with pytest.raises(
        DataError, match=r"at most one class in every head \(of a yes or no, one of"
    ):
        draw([write_list(tmp_path / "b", labels[:200])], MINIMUM, schema=schema)


def test_sets_of_labels_that_are_all_the_same_are_refused(tmp_path: Path) -> None:
    head = Head(name="extras", kind=HeadKind.LABELS, labels=("a", "b", "c"))
    same = write_list(tmp_path / "a", ["a|b"] * 60)
    with pytest.raises(DataError, match="at most one class in every head"):
        draw([same], MINIMUM, schema=Schema(name="extras", heads=(head,)))


@pytest.mark.parametrize("labels", [["blue,left"] * 60, [",left"] * 60])
def test_crops_that_all_show_the_same_are_refused(tmp_path: Path, labels: list[str]) -> None:
    with pytest.raises(DataError, match="show at most one class in every head"):
        draw([write_list(tmp_path / "a", labels)], MINIMUM)


# ---- digest and refusals ----------------------------------------------------------------------


def test_the_digest_is_that_of_the_draw(lists: list[Path], tmp_path: Path) -> None:
    first, again = draw(lists[:2], 40), draw(lists[:2], 40)
    np.testing.assert_array_equal(first.images, again.images)
    assert first.digest == again.digest
    assert len(first.digest) == 64
    # Equal pictures elsewhere are the same draw; another seed is not.
    copied = write_lamps(tmp_path / "copy", 60, seed=60)
    assert draw([copied], 40).digest == draw(lists[:1], 40).digest
    assert draw(lists[:1], 40, seed=1).digest != draw(lists[:1], 40).digest


def test_too_few_crops_are_refused(lists: list[Path]) -> None:
    with pytest.raises(DataError, match=rf"5 calibration crops in {lists[2]}; INT8 ranges need at"):
        draw([lists[2]], 300)
    with pytest.raises(ConfigError, match=rf"^--samples {MINIMUM - 1} is too few: INT8 ranges"):
        draw([lists[0]], MINIMUM - 1)
    assert len(draw([lists[0]], MINIMUM).images) == MINIMUM


def test_no_or_an_empty_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="0 calibration crops in no list"):
        draw([], 300)
    (tmp_path / "labels.tsv").touch()
    with pytest.raises(DataError, match="no samples"):
        draw([tmp_path], 300)


def test_labels_of_another_task_are_refused(tmp_path: Path) -> None:
    folder = write_lamps(tmp_path / "other", 3, seed=0)
    (folder / "labels.tsv").write_text("0.png\tred,left\n1.png\t苏E8D2K3\n", encoding="utf-8")
    with pytest.raises(DataError, match="1 of 2 rows cannot be used"):
        draw([folder], 300)
