from __future__ import annotations

import struct
from contextlib import suppress

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import ImageError
from runtime.gateway.serve.crops import decode_crop, picture_size
from tests.serving import jpeg

PROGRESSIVE = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]


@given(st.integers(4, 90), st.integers(4, 90), st.sampled_from([".jpg", ".png", "progressive"]))
def test_the_size_is_that_of_the_decoded_picture(height: int, width: int, kind: str) -> None:
    image = np.full((height, width, 3), 99, np.uint8)
    if kind == "progressive":
        data = bytes(cv2.imencode(".jpg", image, PROGRESSIVE)[1])
    else:
        data = jpeg(image, suffix=kind)
    assert picture_size(data, "it") == (width, height)
    assert decode_crop(data, "it", largest_px=height * width).shape == image.shape
    with pytest.raises(ImageError, match=f"it: {width}x{height} px, allowed are"):
        decode_crop(data, "it", largest_px=height * width - 1)


def test_segments_before_the_size_are_skipped() -> None:
    data = jpeg(np.full((8, 12, 3), 9, np.uint8))
    # A thumbnail in a comment, and bytes that fill gaps.
    thumbnail = jpeg(np.full((5, 5, 3), 9, np.uint8))
    comment = b"\xff\xfe" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    end_of_first = 4 + int.from_bytes(data[4:6], "big")
    for more in (comment, b"\xff\xff\xff" + comment[1:], b"\xff\xd0", b"\xff\x01", b"garbage"):
        inserted = data[:end_of_first] + more + data[end_of_first:]
        assert picture_size(inserted, "it") == (12, 8)
        # The decoder skips them as well.
        assert decode_crop(inserted, "it", largest_px=96).shape == (8, 12, 3)


def test_a_small_file_cannot_hold_a_huge_picture() -> None:
    huge = jpeg(np.zeros((4000, 4000, 3), np.uint8), suffix=".png")
    assert len(huge) < 100_000
    with pytest.raises(ImageError, match="4000x4000"):
        decode_crop(huge, "it", largest_px=1e6)


def test_a_picture_of_countless_scans_is_refused() -> None:
    data = bytes(cv2.imencode(".jpg", np.full((64, 64, 3), 9, np.uint8), PROGRESSIVE)[1])
    start = data.rindex(b"\xff\xda")
    scan = data[start:-2]
    with pytest.raises(ImageError, match="scans"):
        decode_crop(data[:-2] + 100 * scan + data[-2:], "it", largest_px=1e6)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected a JPEG or PNG, got nothing"),
        (b"GIF89a", "expected a JPEG or PNG, got 47 49 46 38"),
        (b"\xff\xd8\xff", "without a size"),
        (b"\xff\xd8\xff\xd9", "without a size"),
        (b"\xff\xd8\xff\xda\x00\x08", "without a size"),
        (b"\xff\xd8\xff\xc0\x00\x11\x08", "without a size"),
        (b"\xff\xd8\xff\xe0\x00\x00", "without a size"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "without a header"),
        (b"\x89PNG\r\n\x1a\n", "without a header"),
        (jpeg()[:-30], "cut short"),
    ],
)
def test_what_is_no_picture_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        decode_crop(data, "it", largest_px=1e6)


@given(st.binary(max_size=60), st.integers(0, 200))
def test_any_bytes_are_a_picture_or_an_error(noise: bytes, at: int) -> None:
    data = jpeg()
    with suppress(ImageError):
        image = decode_crop(data[:at] + noise + data[at + len(noise) :], "it", largest_px=1e5)
        assert image.shape[0] * image.shape[1] <= 1e5
