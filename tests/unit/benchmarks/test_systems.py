from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from benchmarks.scenarios import Turns
from benchmarks.systems import EngineSystem, ReaderSystem
from runtime.arrays import Images, Logits
from runtime.errors import ConfigError, EngineError
from runtime.manifest import GOLDEN_FILE, FileRecord, Manifest
from runtime.reader import Reader
from runtime.scores import OperatingPoint
from tests.artifacts import SMALL_INPUT, SMALL_SCHEMA, TinyNetwork, random_images

NETWORK = TinyNetwork(scale=3.0)
CROPS = random_images(6, seed=3)
MANIFEST = Manifest(
    id="small",
    version=1,
    schema=SMALL_SCHEMA,
    input=SMALL_INPUT,
    engine="onnx",
    engine_file="model.onnx",
    precision="fp32",
    operating=OperatingPoint(),
    golden_tolerance=0.01,
    files=dict.fromkeys(["model.onnx", GOLDEN_FILE], FileRecord(1, "0" * 64)),
)


class Numpy:
    """The network in numpy, with faults that can be switched on."""

    description: Mapping[str, str] = {}

    def __init__(self) -> None:
        self.noise = 0.0
        self.swap_last = False
        self.batches: list[int] = []

    def run(self, images: Images) -> Logits:
        self.batches.append(len(images))
        scores = {name: logits + self.noise for name, logits in NETWORK.logits(images).items()}
        if self.swap_last:
            scores = {name: np.roll(each, 1, axis=1) for name, each in scores.items()}
        return scores

    def close(self) -> None:
        """Nothing to free."""


class ByBatch(Numpy):
    """Dark crops are answered otherwise in a batch than alone."""

    def run(self, images: Images) -> Logits:
        scores = super().run(images)
        dark = images.reshape(len(images), -1).mean(axis=1) < 60
        if len(images) > 1:
            for each in scores.values():
                each[dark] = np.roll(each[dark], 1, axis=1)
        return scores


def reader(session: Any) -> Reader:
    return Reader(MANIFEST, session, max_batch=4)


def test_an_engine_that_repeats_itself_passes_and_noise_without_a_flip_too() -> None:
    session = Numpy()
    system = EngineSystem(session, MANIFEST, CROPS)
    assert system.crops == 6
    turns = Turns(system)
    for noise in (0.0, 0.0, 1e-4):
        session.noise = noise  # the same for all labels: no answer changes
        turns.check(turns())
    session.swap_last = True
    with pytest.raises(EngineError, match=r"crop 0 of batch 3 otherwise .* void"):
        turns.check(turns())


def test_engine_batches_hold_all_crops_and_are_ready() -> None:
    session = Numpy()
    system = EngineSystem(session, MANIFEST, CROPS, batch=8)
    assert system.crops == 4
    assert session.batches == [8] * 4
    scores = system.answer([1])
    expected = NETWORK.logits(CROPS[[1, 2, 3, 4, 5, 0, 1, 2]])
    for name, each in expected.items():
        np.testing.assert_allclose(scores[name], each)


def test_a_readers_answers_are_checked_alone_and_in_batches() -> None:
    session = Numpy()
    system = ReaderSystem(reader(session), [*CROPS])
    assert (system.crops, system.unsteady) == (6, 0)
    for samples in ([2], [0, 5, 1]):
        timings = system.check(samples, system.answer(samples))
        assert timings is not None
        assert timings.engine > 0
    session.swap_last = True
    with pytest.raises(EngineError, match="crop 5 otherwise"):
        system.check([5], system.answer([5]))


def test_an_error_instead_of_an_answer_voids_the_run() -> None:
    session = Numpy()
    system = ReaderSystem(reader(session), [*CROPS])
    session.noise = float("nan")
    with pytest.raises(EngineError, match="cannot be read"):
        system.check([0, 1], system.answer([0, 1]))


def test_crops_that_depend_on_their_batch_are_left_out() -> None:
    dark = (CROPS // 8).astype(np.uint8)
    system = ReaderSystem(reader(ByBatch()), [*CROPS, *dark])
    assert system.unsteady >= 6
    assert 1 <= system.crops <= 6
    with pytest.raises(ConfigError, match="nothing to time"):
        ReaderSystem(reader(ByBatch()), [*dark])
