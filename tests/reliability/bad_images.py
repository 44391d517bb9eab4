"""Bad pictures and arrays, given to the gateway's decoder and to ``Reader.read`` one by one.

Runs as a process of its own, so that a crash is counted and not suffered::

    python -m tests.reliability.bad_images ARTIFACT MUTANTS

Prints one line of JSON per case: what it was, how it ended, and how long it took.
"""

from __future__ import annotations

import json
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from runtime import HeadlightError, Reader
from runtime.gateway.serve.crops import decode_crop
from runtime.preprocess import decode_image
from tests.cameras import moving_picture
from tests.reliability.mutants import mutate

__all__ = ["ABUSES", "BOMBS", "VALID", "jpegs"]

_LARGEST_PX = 4096 * 4096
PICTURE = moving_picture(3, width=160, height=48)

ABUSES: dict[str, Callable[[], Any]] = {
    "float": lambda: PICTURE.astype(np.float32),
    "nan": lambda: np.full((48, 160, 3), np.nan, np.float32),
    "uint16": lambda: PICTURE.astype(np.uint16),
    "objects": lambda: PICTURE.astype(object),
    "grey": lambda: PICTURE[:, :, 0],
    "alpha": lambda: np.concatenate([PICTURE, PICTURE[:, :, :1]], 2),
    "batch": lambda: PICTURE[None],
    "empty": lambda: np.zeros((0, 0, 3), np.uint8),
    "no_width": lambda: np.zeros((48, 0, 3), np.uint8),
    "none": lambda: None,
    "list": lambda: PICTURE.tolist(),
}
"""What is no picture: an error each."""
VALID: dict[str, Callable[[], Any]] = {
    "huge": lambda: np.zeros((4096, 4096, 3), np.uint8),
    "every_second_pixel": lambda: np.repeat(np.repeat(PICTURE, 2, 0), 2, 1)[::2, ::2],
    "mirrored": lambda: np.ascontiguousarray(PICTURE[:, ::-1])[:, ::-1],
    "columns_first": lambda: np.asfortranarray(PICTURE),
    "read_only": lambda: np.frombuffer(PICTURE.tobytes(), np.uint8).reshape(PICTURE.shape),
}
"""What is one, although it lies oddly in memory: a result each."""


def jpegs() -> list[bytes]:
    """Return pictures in the forms that cameras and browsers send."""
    settings = [
        [],
        [cv2.IMWRITE_JPEG_QUALITY, 30],
        [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
        [cv2.IMWRITE_JPEG_RST_INTERVAL, 4],
        [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444],
    ]
    coloured = [cv2.imencode(".jpg", PICTURE, setting)[1].tobytes() for setting in settings]
    return [*coloured, cv2.imencode(".jpg", PICTURE[:, :, 0])[1].tobytes()]


def _with_size(data: bytes, width: int, height: int) -> bytes:
    """Return a JPEG whose header claims another size."""
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]


def _png_bomb() -> bytes:
    data = bytearray(cv2.imencode(".png", PICTURE)[1].tobytes())
    data[16:24] = struct.pack(">II", 100_000, 100_000)
    return bytes(data)


BOMBS: dict[str, Callable[[], bytes]] = {
    "jpeg_4_gigapixels": lambda: _with_size(jpegs()[0], 65_500, 65_500),
    "jpeg_900_megapixels": lambda: _with_size(jpegs()[0], 30_000, 30_000),
    "jpeg_of_no_height": lambda: _with_size(jpegs()[0], 160, 0),
    "png_10_gigapixels": _png_bomb,
    "nothing": lambda: b"",
}
"""Headers that promise more than there is: an error each, and no memory."""


def _cases(reader: Reader, mutants: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    originals = jpegs()
    for seed in range(mutants):
        data = mutate(originals[seed % len(originals)], seed)
        yield (
            "mutant",
            lambda data=data: reader.read(decode_crop(data, "mutant", largest_px=_LARGEST_PX)),
        )
        yield "mutant_from_file", lambda data=data: reader.read(decode_image(data, "mutant"))
    for name, bomb in BOMBS.items():
        yield (
            f"bomb_{name}",
            lambda bomb=bomb: reader.read(decode_crop(bomb(), "bomb", largest_px=_LARGEST_PX)),
        )
    for name, abuse in ABUSES.items():
        yield f"abuse_{name}", lambda abuse=abuse: reader.read(abuse())
    for name, valid in VALID.items():
        yield f"valid_{name}", lambda valid=valid: reader.read(valid())


def _main(artifact: Path, mutants: int) -> None:
    with Reader.open(artifact) as reader:
        reader.read(PICTURE)
        for name, case in _cases(reader, mutants):
            began_s = time.perf_counter()
            try:
                case()
                end = "answered"
            except HeadlightError:
                end = "refused"
            except Exception as error:  # noqa: BLE001
                end = f"other: {type(error).__name__}: {error}"
            print(json.dumps([name, end, time.perf_counter() - began_s]), flush=True)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]))
