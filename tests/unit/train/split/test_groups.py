"""What must stay together: texts, pictures, and what they join."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from runtime.builtin_schemas import us_plate
from tests.unit.train.audit.crops import scene, survey_of
from train.audit.duplicates import Nearness, find_duplicates
from train.audit.survey import Survey
from train.split.groups import Groups, connected, group_crops, smallest_keys


def groups_of(survey: Survey) -> Groups:
    return group_crops(survey, find_duplicates(survey, Nearness.usual(survey.schema)))


def together(groups: Groups) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(groups.of == group).tolist()) for group in range(len(groups))}


def test_one_text_one_picture_and_chains_of_both(tmp_path: Path) -> None:
    near = np.clip(scene(3).astype(int) + 3, 0, 255).astype(np.uint8)
    rows = [
        (scene(0), "ABC1230"),
        (scene(1), "XYZ999"),
        (scene(2), "ABC123O"),  # O is read as 0: the plate of the first
        (scene(3), "K55555"),
        (near, "XYZ999"),  # joins the second and the fourth
        (scene(4), "T1111"),
    ]
    survey = survey_of(tmp_path, us_plate(), train=rows)
    assert together(groups_of(survey)) == {
        frozenset({0, 2}),
        frozenset({1, 3, 4}),
        frozenset({5}),
    }


def test_without_texts_pictures_alone_count(tmp_path: Path) -> None:
    rows = [(scene(0), "blue"), (scene(1), "blue"), (scene(0), "red"), (scene(2), "blue")]
    assert together(groups_of(survey_of(tmp_path, train=rows))) == {
        frozenset({0, 2}),
        frozenset({1}),
        frozenset({3}),
    }


def test_keys_are_of_texts_whatever_pictures_show_them(tmp_path: Path) -> None:
    one = survey_of(tmp_path / "a", us_plate(), train=[(scene(0), "ABC123"), (scene(1), "T1111")])
    other = survey_of(
        tmp_path / "b",
        us_plate(),
        train=[(scene(5), "T1111"), (scene(6), "ABC123"), (scene(7), "ABC123")],
    )
    keys = [groups_of(survey).keys[groups_of(survey).of] for survey in (one, other)]
    assert (keys[0][[0, 1]] == keys[1][[1, 0]]).all()
    assert (keys[0][0] != keys[0][1]).any()


def test_keys_of_pictures_are_of_their_files(tmp_path: Path) -> None:
    one = survey_of(tmp_path / "a", train=[(scene(0), "blue"), (scene(1), "red")])
    other = survey_of(tmp_path / "b", train=[(scene(1), "blue")])  # other folder, name and label
    assert (groups_of(one).keys[groups_of(one).of[1]] == groups_of(other).keys[0]).all()
    assert (groups_of(one).keys[groups_of(one).of[0]] != groups_of(other).keys[0]).any()


edges = st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)), max_size=20)


@given(edges)
def test_components_are_the_transitive_closure(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs, np.int64).reshape(-1, 2).T
    found = connected(15, [(first[:5], second[:5]), (first[5:], second[5:])])
    reached = np.eye(15, dtype=bool)
    reached[first, second] = reached[second, first] = True
    for _ in range(4):  # paths of up to 16 edges
        reached = reached @ reached
    assert ((found[:, None] == found) == reached).all()


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.binary(min_size=16, max_size=16), st.booleans()),
        min_size=1,
        max_size=20,
    )
)
def test_the_smallest_preferred_digest_is_the_key(rows: list[tuple[int, bytes, bool]]) -> None:
    names = sorted({name for name, _, _ in rows})
    found = smallest_keys(
        np.array([names.index(name) for name, _, _ in rows]),
        np.array([list(digest) for _, digest, _ in rows], np.uint8),
        np.array([preferred for _, _, preferred in rows]),
    )
    expected = [
        min((not preferred, digest) for name, digest, preferred in rows if name == wanted)[1]
        for wanted in names
    ]
    assert [key.tobytes() for key in found] == expected
