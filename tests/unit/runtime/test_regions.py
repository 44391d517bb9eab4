from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import ImageError, Reader, Result
from runtime.preprocess import InputSpec, fit
from runtime.regions import box_quads, rectify
from tests.artifacts import TinyNetwork
from tests.sessions import FakeSession, fake_reader

SPEC = InputSpec(height=16, width=40)
LETTERBOX = InputSpec(height=16, width=40, resize="letterbox")
Quad = npt.NDArray[np.float64]


def smooth(height: int, width: int, seed: int = 0) -> Any:
    """A picture without fine detail, so that a quarter of a pixel matters little."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


FRAME = smooth(120, 200)


def quad(*corners: tuple[float, float]) -> Quad:
    return np.asarray(corners, np.float64)


BOX = quad((20, 30), (100, 30), (100, 70), (20, 70))


@given(
    st.integers(0, 150), st.integers(0, 80), st.integers(4, 50), st.integers(4, 40),
    st.sampled_from([SPEC, LETTERBOX]), st.sampled_from([np.int64, np.float32, np.float64]),
)  # fmt: skip
def test_a_box_of_whole_pixels_is_the_fitted_crop(
    left: int, top: int, width: int, height: int, spec: InputSpec, dtype: Any
) -> None:
    (corners,) = box_quads(np.asarray([[left, top, left + width, top + height]], dtype))
    expected = fit(FRAME[top : top + height, left : left + width], spec)
    np.testing.assert_array_equal(rectify(FRAME, corners, spec), expected)


@pytest.mark.parametrize("spec", [SPEC, LETTERBOX], ids=["stretch", "letterbox"])
@pytest.mark.parametrize(
    "box", [(20, 30, 100, 70), (20, 30, 150, 110), (20, 30, 55, 44), (20, 30, 100, 44)]
)
def test_a_box_off_by_a_hair_is_nearly_the_fitted_crop(
    box: tuple[int, int, int, int], spec: InputSpec
) -> None:
    left, top, right, bottom = box
    (corners,) = box_quads(np.asarray([box])) + 1e-3
    expected = fit(FRAME[top:bottom, left:right], spec).astype(int)
    difference = np.abs(rectify(FRAME, corners, spec).astype(int) - expected)
    assert difference.mean() < 0.6
    assert difference.max() <= 6


@pytest.mark.parametrize("size", [(36, 14), (80, 32), (110, 60)])
@pytest.mark.parametrize("degrees", [0, 17, 90, 180, -60])
def test_turned_regions_come_out_upright(size: tuple[int, int], degrees: float) -> None:
    """The frame is drawn by turning a known picture; reading it back must give that picture."""
    width, height = size
    picture = smooth(height, width, seed=3)
    turn = math.radians(degrees)
    across = np.asarray([math.cos(turn), math.sin(turn)])
    down = np.asarray([-math.sin(turn), math.cos(turn)])
    middle = np.asarray([100.3, 99.6])
    corners = np.stack(
        [middle + a * width / 2 * across + d * height / 2 * down
         for a, d in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    )  # fmt: skip
    ends = quad((0, 0), (width, 0), (width, height), (0, height)) - 0.5
    matrix = cv2.getAffineTransform(
        ends[:3].astype(np.float32), (corners[:3] - 0.5).astype(np.float32)
    )
    frame = cv2.warpAffine(
        picture, matrix, (200, 200), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    difference = np.abs(rectify(frame, corners, SPEC).astype(int) - fit(picture, SPEC).astype(int))
    assert difference.mean() < 3  # both ways interpolate


def test_perspective_is_undone() -> None:
    frame = np.zeros((100, 100, 3), np.uint8)
    corners = quad((20, 20), (90, 35), (85, 70), (25, 90))
    matrix = cv2.getPerspectiveTransform(
        quad((0, 0), (40, 0), (40, 16), (0, 16)).astype(np.float32), corners.astype(np.float32)
    )
    # Left half white: the border runs where the perspective puts it, not through the middle.
    left = quad((0, 0), (20, 0), (20, 16), (0, 16))
    drawn = cv2.perspectiveTransform(left[None], matrix)[0]
    cv2.fillConvexPoly(frame, np.rint(drawn * 16).astype(int), (255, 255, 255), shift=4)
    seen = rectify(frame, corners, SPEC)[:, :, 0].astype(float)
    assert seen[2:-2, 1:18].min() > 200
    assert seen[2:-2, 22:].max() < 55


def test_detail_beyond_the_inputs_is_averaged() -> None:
    """Lines of one pixel, seen at a fifth of their size, are grey and not stripes."""
    frame = np.zeros((400, 400, 3), np.uint8)
    frame[::2] = 255
    corners = quad((60, 60), (300, 63), (299, 180), (59, 177))
    seen = rectify(frame, corners, InputSpec(height=16, width=40))
    assert 110 < seen.min() <= seen.max() < 145


def test_the_frame_is_left_alone() -> None:
    frame = FRAME.copy()
    frame.flags.writeable = False
    for corners in (BOX, BOX + 0.3):
        seen = rectify(frame, corners, InputSpec(height=40, width=80))
        assert not np.may_share_memory(seen, frame)
        seen[:] = 0
    assert (frame == FRAME).all()


@pytest.mark.parametrize("view", [np.s_[:, ::-1], np.s_[::2, ::2], np.s_[:, :, ::-1]])
def test_views_of_frames(view: Any) -> None:
    frame = smooth(240, 400)[view]
    corners = BOX + 0.3
    np.testing.assert_array_equal(
        rectify(frame, corners, SPEC), rectify(frame.copy(), corners, SPEC)
    )


def test_frames_larger_than_opencv_addresses() -> None:
    frame = np.broadcast_to(np.uint8(77), (50, 40_000, 3))
    seen = rectify(frame, quad((39_000, 5), (39_100, 6), (39_099, 40), (39_001, 41)), SPEC)
    assert (seen == 77).all()


def test_a_little_of_a_region_may_be_outside() -> None:
    corners = quad((-2, 30), (80, 31), (80, 70), (-3, 70))
    seen = rectify(np.full((120, 200, 3), 90, np.uint8), corners, SPEC)
    assert (seen == 90).all()


BAD = {
    "not a number": (np.where(BOX == 70, math.nan, BOX), "finite"),
    "infinite": (BOX * math.inf, "finite"),
    "far away": (BOX + 1e7, "finite and near"),
    "one point": (np.full((4, 2), 30.0), "clockwise"),
    "a line": (quad((0, 0), (10, 10), (20, 20), (30, 30)), "clockwise"),
    "crossing": (BOX[[0, 2, 1, 3]], "clockwise"),
    "crossing the other way": (BOX[[0, 1, 3, 2]], "clockwise"),
    "the other way round": (BOX[::-1], "clockwise"),
    "turned inwards": (quad((20, 20), (100, 20), (30, 30), (20, 80)), "clockwise"),
    "tiny": (quad((20, 20), (23, 20), (23, 60), (20, 60)), "at least 4 px"),
    "a sliver": (quad((0, 0), (100, 0.5), (104, 1.5), (4, 1)), "at least 4 px"),
    "outside": (BOX + 500, "0% of it"),
    "half outside": (BOX - [[60, 0]], "50% of it"),
    "around the frame": (quad((-90, -90), (300, -90), (300, 300), (-90, 300)), "of it"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_regions_that_cannot_be_read(name: str) -> None:
    corners, message = BAD[name]
    with pytest.raises(ImageError, match=message):
        rectify(FRAME, corners, SPEC)


@given(st.lists(st.tuples(st.floats(), st.floats()), min_size=4, max_size=4))
def test_any_quad_gives_an_image_or_an_error(corners: list[tuple[float, float]]) -> None:
    try:
        seen = rectify(FRAME, np.asarray(corners), SPEC)
    except ImageError:
        return
    assert seen.shape == SPEC.shape


@given(
    st.lists(st.tuples(st.integers(-30, 230), st.integers(-30, 150)), min_size=4, max_size=4),
    st.sampled_from([SPEC, LETTERBOX]),
)
def test_any_quad_near_the_frame(corners: list[tuple[int, int]], spec: InputSpec) -> None:
    try:
        seen = rectify(FRAME, np.asarray(corners) + 0.25, spec)
    except ImageError:
        return
    assert seen.shape == spec.shape


@pytest.fixture
def reader(network: TinyNetwork) -> Reader:
    return fake_reader(FakeSession(network.logits))


def test_one_bad_region_is_one_error(reader: Reader) -> None:
    quads = np.stack([BOX, BOX[::-1], BOX + 0.4, BOX + 900, BOX, BOX])
    answers = reader.read_regions(FRAME, quads)
    assert [type(answer) for answer in answers] == [
        Result, ImageError, Result, ImageError, Result, Result,
    ]  # fmt: skip
    first = answers[0]
    assert isinstance(first, Result)
    assert first.confidence == pytest.approx(reader.read(FRAME[30:70, 20:100]).confidence)
    assert reader.stats().bad_images == 2
    assert reader.read_regions(FRAME, np.empty((0, 4, 2))) == []
    assert reader.read_regions(FRAME, []) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("quads", [BOX, np.zeros((2, 4)), [[["a", "b"]] * 4], [[1, 2], [3]], None])
def test_what_are_no_quads(reader: Reader, quads: Any) -> None:
    with pytest.raises(ImageError, match=r"\(N, 4, 2\)"):
        reader.read_regions(FRAME, quads)


def test_what_is_no_frame(reader: Reader) -> None:
    with pytest.raises(ImageError, match="COLOR_GRAY2BGR"):
        reader.read_regions(FRAME[:, :, 0], BOX[None])
