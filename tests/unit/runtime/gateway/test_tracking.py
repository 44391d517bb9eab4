from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import ConfigError
from runtime.gateway.finding import Region
from runtime.gateway.tracking import Tracker, TrackingOptions, iou
from runtime.regions import box_quads


def region(left: float, top: float, width: float = 40, height: float = 20) -> Region:
    box = np.asarray([[left, top, left + width, top + height]], np.float32)
    return Region(box_quads(box)[0])


def follow(tracker: Tracker, regions: list[Region], now_s: float) -> list[int | None]:
    keys = tracker.assign(regions, now_s)
    for key, one in zip(keys, regions, strict=True):
        if key is not None:
            tracker.see(key, one, now_s)
    return keys


def test_iou_by_hand() -> None:
    boxes = np.asarray([[0, 0, 10, 10], [20, 20, 30, 30]], float)
    others = np.asarray([[5, 0, 15, 10], [0, 0, 10, 10], [100, 0, 101, 1]], float)
    # Half of the first: 50 of 150.
    assert iou(boxes, others) == pytest.approx(np.asarray([[1 / 3, 1, 0], [0, 0, 0]]))


@given(st.integers(0, 2**32 - 1))
def test_iou_is_what_pixels_say(seed: int) -> None:
    random = np.random.default_rng(seed)
    corners = random.integers(0, 12, (2, 2))
    sizes = random.integers(1, 8, (2, 2))
    boxes = np.concatenate([corners, corners + sizes], axis=1).astype(float)
    masks = np.zeros((2, 20, 20), bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes.astype(int), strict=True):
        mask[top:bottom, left:right] = True
    shared = (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()
    assert iou(boxes[:1], boxes[1:])[0, 0] == pytest.approx(shared)


def test_two_that_pass_each_other_keep_their_tracks() -> None:
    tracker = Tracker(TrackingOptions(), fixed=False)
    for step in range(12):
        there, back = region(10 + 30 * step, 0), region(400 - 30 * step, 30)
        order = [there, back] if step % 2 else [back, there]
        keys = follow(tracker, order, step / 10)
        if step == 0:
            back_key, there_key = keys
        assert keys == ([there_key, back_key] if step % 2 else [back_key, there_key])


def test_steps_of_more_than_a_width_are_followed_once_the_speed_is_known() -> None:
    tracker = Tracker(TrackingOptions(), fixed=False)
    lefts = [0, 40, 110, 190, 270, 350]  # the plate is 40 px wide
    keys = {follow(tracker, [region(left, 0)], n / 10)[0] for n, left in enumerate(lefts)}
    assert len(keys) == 1


def test_frames_without_the_vehicle_are_bridged_until_it_is_lost() -> None:
    tracker = Tracker(TrackingOptions(lost_s=0.5), fixed=False)
    (first,) = follow(tracker, [region(0, 0)], 0)
    assert tracker.end_lost(0.5) == []
    assert follow(tracker, [region(2, 0)], 0.5) == [first]
    assert len(tracker.end_lost(1.01)) == 1
    assert len(tracker) == 0
    assert follow(tracker, [region(2, 0)], 1.1) != [first]


def test_the_best_overlap_wins() -> None:
    tracker = Tracker(TrackingOptions(reach=0), fixed=False)
    left, right = follow(tracker, [region(0, 0), region(60, 0)], 0)
    assert follow(tracker, [region(52, 0), region(18, 0)], 0.1) == [right, left]


def test_no_more_tracks_than_allowed() -> None:
    tracker = Tracker(TrackingOptions(max_tracks=2), fixed=False)
    keys = follow(tracker, [region(100 * n, 0) for n in range(4)], 0)
    assert keys[2:] == [None, None]
    assert (len(tracker), tracker.overflows) == (2, 2)


def test_fixed_regions_are_their_own_tracks() -> None:
    tracker = Tracker(TrackingOptions(), fixed=True)
    assert tracker.assign([region(0, 0), region(0, 0)], 0) == [0, 1]
    assert len(tracker) == 0  # until something is there


@given(st.lists(st.lists(st.integers(0, 30), max_size=6), max_size=12))
def test_no_track_is_given_twice_in_a_frame(frames: list[list[int]]) -> None:
    tracker = Tracker(TrackingOptions(max_tracks=8), fixed=False)
    for number, places in enumerate(frames):
        keys = follow(tracker, [region(10 * place, 0) for place in places], number / 10)
        given_out = [key for key in keys if key is not None]
        assert len(set(given_out)) == len(given_out)
        assert len(tracker) <= 8
        tracker.end_lost(number / 10)


@pytest.mark.parametrize(
    "options",
    [{"lost_s": 0}, {"min_iou": 0}, {"min_iou": 1.1}, {"max_tracks": 0}, {"presence": -1},
     {"sure": 0.5}, {"change_frames": 0}, {"lost_s": float("nan")}, {"reach": -1}],
)  # fmt: skip
def test_refuses_what_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        TrackingOptions(**options)
