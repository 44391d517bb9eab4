"""Painted plates: crops whose pixels say what a fake network reads, and cameras that show them.

``paint(frame, box, "BA", sure=1.0)`` fills a box with a colour; a reader of ``painted_reader``
reads ``BA`` from it, surer or less sure. Grey is read as nothing in particular.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Final

import numpy as np

from runtime.arrays import Image, Images, Logits
from runtime.errors import HeadlightError
from runtime.gateway.frames import Frame
from runtime.manifest import FileRecord, Manifest
from runtime.reader import Reader
from runtime.regions import Quads
from runtime.results import Result
from runtime.scores import OperatingPoint
from runtime.voting import Track, TrackOptions
from tests.artifacts import SMALL_INPUT, SMALL_SCHEMA
from tests.sessions import FakeSession

__all__ = [
    "BEGIN",
    "PLATES",
    "FakeCamera",
    "SwappedReader",
    "blank",
    "frame_of",
    "paint",
    "painted_reader",
]

PLATES: Final = ("AA", "AB", "BA", "BB", "京00", "京01", "京10", "京11")
BEGIN: Final = datetime(2026, 11, 21, 8, 0, tzinfo=timezone.utc)
_STEP: Final = 20
_SPREAD: Final = 12.0
_HEADS: Final = ("first", "second", "third")


def blank(height: int = 240, width: int = 320) -> Image:
    return np.full((height, width, 3), 255, np.uint8)


def paint(image: Image, box: tuple[int, int, int, int], plate: str, sure: float = 1.0) -> None:
    """Paint a plate into x, y, width, height; ``sure`` in [0, 1]."""
    x, y, width, height = box
    colour = (PLATES.index(plate) * _STEP, round(sure * 200), 100)
    image[y : y + height, x : x + width] = colour


def _scores(images: Images) -> Logits:
    middle = images[:, SMALL_INPUT.height // 2, SMALL_INPUT.width // 2].astype(float)
    known = middle[:, 2] == 100
    plates = np.where(known, middle[:, 0] // _STEP, 0).astype(int)
    spread = np.where(known, middle[:, 1] / 200 * _SPREAD, 0)
    scores = {h.name: np.zeros((len(images), h.size), np.float32) for h in SMALL_SCHEMA.heads}
    for row, plate in enumerate(plates):
        text = PLATES[plate].ljust(3, "_")
        for name, letter in zip(_HEADS, text, strict=True):
            scores[name][row, SMALL_SCHEMA.head(name).labels.index(letter)] = spread[row]
        scores["colour"][row, 1] = 6
        scores["extras"][row] = (-6, 6, -6)
    return scores


def painted_reader(
    *, artifact: str = "painted", version: int = 1, threshold: float = 0.9
) -> Reader:
    record = FileRecord(1, "0" * 64)
    manifest = Manifest(
        id=artifact,
        version=version,
        schema=SMALL_SCHEMA,
        input=SMALL_INPUT,
        engine="onnx",
        engine_file="model.onnx",
        precision="fp32",
        operating=OperatingPoint(answer_threshold=threshold),
        golden_tolerance=0.01,
        files={"model.onnx": record, "golden.npz": record},
    )
    return Reader(manifest, FakeSession(_scores), max_batch=8, keep_scores=True)


class SwappedReader:
    """A reader that is another from one call to the next, as after a reload."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    @property
    def info(self) -> Manifest:
        return self.reader.info

    def read_regions(self, frame: Image, quads: Quads) -> list[Result | HeadlightError]:
        return self.reader.read_regions(frame, quads)

    def track(self, options: TrackOptions | None = None) -> Track:
        return self.reader.track(options)


def frame_of(image: Image, number: int, *, camera: str = "gate", fps: float = 10) -> Frame:
    """A frame that came ``number / fps`` seconds after ``BEGIN`` and after 0 on the clock."""
    return Frame(
        camera=camera,
        image=image,
        number=number,
        arrived_ns=round(number / fps * 1e9),
        arrived=BEGIN + timedelta(seconds=number / fps),
    )


class FakeCamera:
    """Hands out the frames that it was given; sets ``emptied`` when it is asked for more."""

    def __init__(self, frames: Iterable[Frame] = ()) -> None:
        self.frames = deque(frames)
        self.emptied = threading.Event()

    def take(self, timeout_s: float) -> Frame | None:
        if self.frames:
            return self.frames.popleft()
        self.emptied.set()
        threading.Event().wait(min(timeout_s, 0.01))
        return None
