"""Sessions that tests hold, break and count, and readers on them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from runtime.arrays import Images, Logits
from runtime.errors import EngineError
from runtime.manifest import FileRecord, Manifest
from runtime.reader import Reader
from runtime.scores import OperatingPoint
from tests.artifacts import SMALL_INPUT, SMALL_SCHEMA

__all__ = ["POINT", "FakeSession", "fake_reader"]

POINT = OperatingPoint(
    temperatures={"first": 1.5},
    choice_thresholds={"second": 0.5},
    label_thresholds={"extras": (0.2, 0.5, 0.8)},
    answer_threshold=0.1,
)


class FakeSession:
    """Answers with ``answer``, counts the calls, and holds them while ``gate`` is not set."""

    def __init__(self, answer: Callable[[Images], Logits]) -> None:
        self.answer = answer
        self.batches: list[int] = []
        self.closed = 0
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        """Released whenever a call begins."""

    def run(self, images: Images) -> Logits:
        if self.closed:
            raise EngineError("closed")
        self.batches.append(len(images))
        self.entered.release()
        assert self.gate.wait(30)
        return self.answer(images)

    def close(self) -> None:
        self.closed += 1

    @property
    def description(self) -> Mapping[str, str]:
        return {"engine": "fake"}


def fake_reader(session: FakeSession, **options: Any) -> Reader:
    record = FileRecord(1, "0" * 64)
    manifest = Manifest(
        id="fake",
        version=0,
        schema=SMALL_SCHEMA,
        input=SMALL_INPUT,
        engine="onnx",
        engine_file="model.onnx",
        precision="fp32",
        operating=POINT,
        golden_tolerance=0.01,
        files={"model.onnx": record, "golden.npz": record},
    )
    return Reader(manifest, session, **{"max_batch": 4, **options})
