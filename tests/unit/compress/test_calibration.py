"""The calibration set: drawn evenly from the user's own lists, and the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.calibration import MINIMUM, draw_calibration, shares
from runtime.arrays import Images
from runtime.errors import DataError
from tests.slimming import SCHEMA, SPEC, write_lamps


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three lists of 60, 40 and 5 crops."""
    folder = tmp_path_factory.mktemp("lists")
    return [write_lamps(folder / str(n), n, seed=n) for n in (60, 40, 5)]


def draw(sources: list[Path], count: int, seed: int = 0) -> tuple[Images, str]:
    return draw_calibration(sources, SCHEMA, SPEC, count=count, seed=seed)


def counts(images: Images, sources: list[Path]) -> list[int]:
    """How many of ``images`` came from each source."""
    where = {
        image.tobytes(): index for index, source in enumerate(sources) for image in draw_all(source)
    }
    return np.bincount([where[image.tobytes()] for image in images], minlength=3).tolist()


def draw_all(source: Path) -> Images:
    from benchmarks.labelled import read_labelled

    return read_labelled(source, SCHEMA).fitted(SPEC)


def test_each_list_gives_an_even_share_without_repeats(lists: list[Path]) -> None:
    images, _ = draw(lists[:2], 40)
    assert images.shape == (40, 16, 32, 3)
    assert counts(images, lists) == [20, 20, 0]
    assert len({image.tobytes() for image in images}) == 40


def test_others_fill_up_what_a_short_list_lacks(lists: list[Path]) -> None:
    assert counts(draw(lists, 45)[0], lists) == [20, 20, 5]
    assert counts(draw(lists, 100)[0], lists) == [55, 40, 5]
    assert counts(draw(lists, 1000)[0], lists) == [60, 40, 5]
    # 5 + 30 of 60: enough, although the short list does not reach its half.
    assert counts(draw([lists[2], lists[0]], 35)[0], lists) == [30, 0, 5]


@given(
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=6),
    count=st.integers(1, 200),
)
def test_shares_are_even_and_as_many_as_there_are(sizes: list[int], count: int) -> None:
    found = shares(sizes, count)
    assert sum(found) == min(count, sum(sizes))
    assert all(0 <= share <= size for share, size in zip(found, sizes, strict=True))
    whole = [share for share, size in zip(found, sizes, strict=True) if share < size]
    # Lists that were not emptied gave equally much, up to one crop, and nobody gave more.
    assert not whole or max(whole) - min(whole) <= 1
    assert not whole or max(found) <= min(whole) + 1


def test_the_digest_is_that_of_the_draw(lists: list[Path], tmp_path: Path) -> None:
    images, digest = draw(lists[:2], 40)
    again, same = draw(lists[:2], 40)
    np.testing.assert_array_equal(images, again)
    assert digest == same
    assert len(digest) == 64
    # Equal pictures elsewhere are the same draw; another seed is not.
    copied = write_lamps(tmp_path / "copy", 60, seed=60)
    assert draw([copied], 40)[1] == draw(lists[:1], 40)[1]
    assert draw(lists[:1], 40, seed=1)[1] != draw(lists[:1], 40)[1]


def test_too_few_crops_are_refused(lists: list[Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"5 calibration crops in {lists[2]}; INT8 ranges need at"):
        draw([lists[2]], 300)
    with pytest.raises(DataError, match=rf"^{MINIMUM - 1} calibration crops"):
        draw([lists[0]], MINIMUM - 1)
    assert len(draw([lists[0]], MINIMUM)[0]) == MINIMUM


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
