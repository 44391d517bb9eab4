"""Parts are a partition that no group crosses, and that other data does not move."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.split.groups import Groups, connected, smallest_keys
from train.split.parts import UNLISTED, assign, draw

SHARES = (0.6, 0.25, 0.15)
digests = st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=30, unique=True)


def as_array(rows: list[bytes]) -> npt.NDArray[np.uint8]:
    return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 16)


def grouped(rows: list[bytes], edges: list[tuple[int, int]]) -> Groups:
    first, second = np.array(edges, np.int64).reshape(-1, 2).T % len(rows)
    of = connected(len(rows), [(first, second)])
    return Groups(of, smallest_keys(of, as_array(rows), np.zeros(len(rows), np.bool_)))


edge_lists = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=25)


def unlisted(groups: Groups) -> npt.NDArray[np.int64]:
    return np.full(len(groups.of), UNLISTED)


@given(digests, edge_lists, st.integers())
def test_every_crop_has_a_part_and_no_group_crosses(
    rows: list[bytes], edges: list[tuple[int, int]], seed: int
) -> None:
    groups = grouped(rows, edges)
    found = assign(groups, SHARES, seed, unlisted(groups))
    assert found.part.shape == (len(rows),)
    assert set(found.part.tolist()) <= {0, 1, 2}
    for one, other in edges:
        assert found.part[one % len(rows)] == found.part[other % len(rows)]
    assert not found.kept.any()
    assert len(found.torn) == 0


@given(digests, edge_lists, st.integers(), st.data())
def test_adding_groups_moves_nothing(
    rows: list[bytes], edges: list[tuple[int, int]], seed: int, data: st.DataObject
) -> None:
    old = data.draw(st.integers(1, len(rows)))
    inside = [(a % old, b % old) for a, b in edges]
    new = len(rows) - old
    outside = [(old + a % new, old + b % new) for a, b in edges] if new else []
    before, after = grouped(rows[:old], inside), grouped(rows, inside + outside)
    order = np.array(data.draw(st.permutations(range(len(rows)))))
    place = np.argsort(order)
    moved = [(int(place[a]), int(place[b])) for a, b in inside + outside]
    mixed = grouped([rows[index] for index in order], moved)
    expected = assign(before, SHARES, seed, unlisted(before)).part
    assert (assign(after, SHARES, seed, unlisted(after)).part[:old] == expected).all()
    assert (assign(mixed, SHARES, seed, unlisted(mixed)).part[place][:old] == expected).all()


@given(digests, edge_lists, edge_lists, st.integers())
def test_listing_the_parts_keeps_them_whatever_joins(
    rows: list[bytes], edges: list[tuple[int, int]], more: list[tuple[int, int]], seed: int
) -> None:
    old = 1 + len(rows) // 2
    before = grouped(rows[:old], edges)
    parts = assign(before, SHARES, seed, unlisted(before)).part
    after = grouped(rows, [(a % old, b % old) for a, b in edges] + more)
    listed = unlisted(after)
    listed[:old] = parts
    found = assign(after, SHARES, seed + 1, listed)
    assert (found.part[:old] == parts).all()
    for group in range(len(after)):
        members = np.flatnonzero(after.of == group)
        several = len(set(parts[members[members < old]].tolist())) > 1
        assert several == (group in found.torn)
        assert several or len(set(found.part[members].tolist())) == 1


def test_unlisted_crops_follow_most_of_their_group_then_the_first_part() -> None:
    of = np.array([0, 0, 0, 0, 1, 1, 1, 2])
    groups = Groups(of, as_array([bytes([k]) * 16 for k in range(3)]))
    listed = np.array([0, 2, 2, UNLISTED, 2, 1, UNLISTED, 1])
    found = assign(groups, SHARES, 0, listed)
    assert found.part.tolist() == [0, 2, 2, 2, 2, 1, 1, 1]
    assert found.torn.tolist() == [0, 1]
    assert found.kept.tolist() == [True, True, True, False, True, True, False, True]


@given(st.sampled_from([(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]), digests)
def test_a_share_of_one_takes_all(shares: tuple[float, float, float], rows: list[bytes]) -> None:
    groups = grouped(rows, [])
    part = assign(groups, shares, 0, unlisted(groups)).part
    assert (part == shares.index(1.0)).all()


def test_shares_are_met_up_to_chance() -> None:
    keys = [hashlib.sha256(bytes([a, b])).digest()[:16] for a in range(100) for b in range(100)]
    groups = Groups(np.arange(10_000), as_array(keys))
    part = assign(groups, SHARES, 3, unlisted(groups)).part
    # Four standard deviations of a binomial count.
    assert np.bincount(part) / 10_000 == pytest.approx(SHARES, abs=4 * 0.5 / 100)


def test_a_draw_is_a_function_of_key_and_seed() -> None:
    keys = as_array([b"0123456789abcdef", bytes(16)])
    # blake2b-64 of "7 0123456789abcdef", its first 53 bits as a fraction.
    number = int(hashlib.blake2b(b"7 0123456789abcdef", digest_size=8).hexdigest(), 16)
    assert draw(keys, 7)[0] == (number // 2048) / 9007199254740992
    assert draw(keys[::-1], 7)[1] == draw(keys, 7)[0]
    assert (draw(keys, 7) != draw(keys, 8)).all()
