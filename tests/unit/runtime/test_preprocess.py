from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from runtime.errors import ConfigError, ImageError
from runtime.preprocess import InputSpec, decode_image, fit, fit_many, load_image

STRETCH = InputSpec(height=16, width=40)
LETTERBOX = InputSpec(height=16, width=40, resize="letterbox")
SPECS = st.sampled_from([STRETCH, LETTERBOX])
IMAGES = hnp.arrays(np.uint8, st.tuples(st.integers(8, 70), st.integers(4, 70), st.just(3)))


@given(IMAGES, SPECS)
def test_fits_and_leaves_the_image_alone(image: Any, spec: InputSpec) -> None:
    before = image.copy()
    image.flags.writeable = False
    fitted = fit(image, spec)
    assert fitted.shape == spec.shape
    assert fitted.dtype == np.uint8
    assert fitted.flags.c_contiguous
    assert (image == before).all()


@given(IMAGES, SPECS, st.sampled_from([np.s_[::-1], np.s_[:, ::-1], np.s_[:, :, ::-1], np.s_[::2]]))
def test_views_fit_like_their_copies(image: Any, spec: InputSpec, view: Any) -> None:
    viewed = image[view]
    assert (fit(viewed, spec) == fit(viewed.copy(), spec)).all()


def test_transposed_and_broadcast_views() -> None:
    planar = np.random.default_rng(0).integers(0, 256, (3, 20, 30), np.uint8)
    seen = planar.transpose(1, 2, 0)
    assert (fit(seen, STRETCH) == fit(seen.copy(), STRETCH)).all()
    flat = np.broadcast_to(np.uint8(7), (20, 30, 3))
    assert (fit(flat, STRETCH) == 7).all()


@pytest.mark.parametrize("spec", [STRETCH, LETTERBOX], ids=["stretch", "letterbox"])
@pytest.mark.parametrize("shape", [(4, 4, 3), (4, 50_000, 3), (50_000, 4, 3), (15, 39, 3)])
def test_extreme_sizes(spec: InputSpec, shape: tuple[int, ...]) -> None:
    fitted = fit(np.full(shape, 200, np.uint8), spec)
    assert fitted.shape == spec.shape
    assert 200 in fitted


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 200, 3), (200, 3, 3)])
def test_a_crop_of_a_few_pixels_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=f"at least 4 px on each side, got {shape[0]}x{shape[1]}"):
        fit(np.zeros(shape, np.uint8), STRETCH)


def test_an_image_of_the_right_size_is_not_copied() -> None:
    image = np.zeros(STRETCH.shape, np.uint8)
    assert fit(image, STRETCH) is image


@pytest.mark.parametrize(
    ("shape", "rows", "columns"),
    [((16, 16, 3), (0, 16), (12, 28)), ((10, 100, 3), (6, 10), (0, 40))],
)
def test_letterbox_keeps_the_aspect_ratio(
    shape: tuple[int, ...], rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    fitted = fit(np.full(shape, 200, np.uint8), LETTERBOX)
    inside = np.zeros(LETTERBOX.shape, bool)
    inside[slice(*rows), slice(*columns)] = True
    assert (fitted[inside] == 200).all()
    assert (fitted[~inside] == 114).all()


@pytest.mark.parametrize(
    "image",
    [
        None,
        "crop.png",
        [[[1, 2, 3]]],
        np.zeros((20, 30), np.uint8),
        np.zeros((20, 30, 1), np.uint8),
        np.zeros((20, 30, 4), np.uint8),
        np.zeros((1, 20, 30, 3), np.uint8),
        np.zeros((0, 30, 3), np.uint8),
        np.zeros((20, 0, 3), np.uint8),
        np.zeros((20, 30, 3), np.float32),
        np.zeros((20, 30, 3), np.int8),
        np.zeros((20, 30, 3), bool),
        np.zeros((20, 30, 3), object),
    ],
    ids=lambda image: getattr(image, "shape", type(image).__name__),
)
def test_what_is_no_image(image: Any) -> None:
    with pytest.raises(ImageError, match=r"\(H, W, 3\)"):
        fit(image, STRETCH)


def test_grey_pictures_are_told_how_to_become_images() -> None:
    with pytest.raises(ImageError, match="COLOR_GRAY2BGR"):
        fit(np.zeros((20, 30), np.uint8), STRETCH)


def test_fit_many_stacks_in_order() -> None:
    images = [np.full((5 + i, 9, 3), i, np.uint8) for i in range(3)]
    stacked = fit_many(images, STRETCH)
    assert stacked.shape == (3, *STRETCH.shape)
    assert all((stacked[i] == i).all() for i in range(3))
    assert fit_many([], STRETCH).shape == (0, *STRETCH.shape)


@given(st.integers(8, 500), st.integers(8, 500), st.sampled_from(["stretch", "letterbox"]))
def test_spec_round_trip(height: int, width: int, resize: str) -> None:
    spec = InputSpec(height=height, width=width, resize=resize)
    assert InputSpec.from_object(json.loads(json.dumps(spec.to_object()))) == spec


@pytest.mark.parametrize(
    "change",
    [
        {"height": 4},
        {"height": True},
        {"width": 40.0},
        {"resize": "crop"},
        {"layout": "NCHW"},
        {"dtype": "float32"},
        {"colour_order": "RGB"},
        {"color_order": "BGR"},
    ],
)
def test_spec_is_strict(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        InputSpec.from_object({**STRETCH.to_object(), **change})


def test_load_image(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    path = tmp_path / "京A.png"
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    assert (load_image(path) == image).all()
    path.write_bytes(cv2.imencode(".png", image[:, :, 0])[1].tobytes())
    assert load_image(path).shape == (9, 7, 3)  # grey files become BGR


@pytest.mark.parametrize("content", [None, b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_load_image_refuses(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=r"bad\.png"):
        load_image(path)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_twelve_bits_in_sixteen_are_told_from_the_dark(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    deep = np.random.default_rng(0).integers(0, 4096, (9, 7, 3), np.uint16)
    path.write_bytes(cv2.imencode(suffix, deep)[1].tobytes())
    with pytest.raises(ImageError, match="multiply them by 16"):
        load_image(path)
    path.write_bytes(cv2.imencode(suffix, deep * 16)[1].tobytes())
    assert load_image(path).max() > 200
    dark = (deep // 512).astype(np.uint8)
    path.write_bytes(cv2.imencode(suffix, dark)[1].tobytes())
    assert (load_image(path) == dark).all()


def test_without_memory_a_picture_is_not_to_blame(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*_: object) -> None:
        error = cv2.error("no memory")
        error.code, error.err = cv2.Error.StsNoMem, "Failed to allocate 90000000 bytes"
        raise error

    monkeypatch.setattr(cv2, "imdecode", decode)
    with pytest.raises(MemoryError, match=r"crop: Failed to allocate 90000000 bytes"):
        decode_image(b"\xff\xd8\xff", "crop")
