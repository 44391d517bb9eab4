"""What the reader adds to its engine, measured on tiny artifacts."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks import overhead
from benchmarks.bare import bare_engine, bare_loop, bare_pool, bare_resize, engine_alone
from benchmarks.reading import Known, Lists, Reads, Submits
from runtime.arrays import Image, Images
from runtime.errors import ConfigError, EngineError
from runtime.manifest import Manifest
from runtime.preprocess import InputSpec, fit
from runtime.reader import Reader
from tests.artifacts import TinyNetwork, random_images
from tests.engines import require


@pytest.fixture(scope="module")
def crops() -> list[Image]:
    larger = random_images(6, InputSpec(height=40, width=90))
    return [*larger, *random_images(2), larger[0][:9]]


@pytest.mark.parametrize("batch", [1, 3])
def test_bare_engines_score_as_sessions_do(
    tiny_artifact: Path, network: TinyNetwork, batch: int
) -> None:
    manifest = Manifest.load(tiny_artifact)
    images = random_images(batch)
    expected = [*network.logits(images).values()]
    for threads in (1, 2):
        engine = bare_engine(tiny_artifact, manifest, batch=batch, threads=threads)()
        said: Any = engine(images)
        parts = [*said.values()] if hasattr(said, "values") else said
        for found, scores in zip(parts, expected, strict=True):
            np.testing.assert_allclose(found, scores, rtol=1e-4, atol=1e-4)


def test_an_engine_without_a_bare_loop(tiny_artifact: Path) -> None:
    text = (tiny_artifact / "artifact.json").read_text(encoding="utf-8")
    engine = Manifest.load(tiny_artifact).engine
    manifest = Manifest.from_json(text.replace(f'"engine": "{engine}"', '"engine": "trt"'))
    with pytest.raises(ConfigError, match="'trt'; a bare loop is known for"):
        bare_engine(tiny_artifact, manifest, batch=1, threads=1)


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_bare_resize_is_fit(crops: list[Image], resize: str) -> None:
    for spec in (InputSpec(height=16, width=32, resize=resize), InputSpec(resize=resize)):
        for crop in crops:
            assert (bare_resize(crop, spec)() == fit(crop, spec)).all()


def test_loops_count_images(crops: list[Image]) -> None:
    seen: list[Images] = []

    def engine(images: Images) -> None:
        seen.append(images.copy())

    spec = InputSpec(height=16, width=32)
    resizes = [bare_resize(crop, spec) for crop in crops]
    assert bare_loop(engine, resizes, 4)(perf_counter() + 0.01) == 4 * len(seen) > 0
    expected = [fit(crops[place % len(crops)], spec) for place in range(4 * len(seen))]
    assert (np.concatenate(seen) == np.stack(expected)).all()
    seen.clear()
    assert engine_alone(engine, random_images(2))(perf_counter() + 0.01) == len(seen) > 0
    assert {images.shape[0] for images in seen} == {1}


def test_a_turn_that_begins_late_has_a_rate(tiny_artifact: Path, crops: list[Image]) -> None:
    manifest = Manifest.load(tiny_artifact)
    make = bare_engine(tiny_artifact, manifest, batch=1, threads=1)
    batches = bare_engine(tiny_artifact, manifest, batch=2, threads=1)
    resizes = [bare_resize(crop, manifest.input) for crop in crops]
    fitted = np.stack([resize() for resize in resizes])
    with ThreadPoolExecutor(1) as pool, closing(Reader.open(tiny_artifact, max_batch=2)) as reader:
        known = Known.of(reader, crops)
        workers = {
            engine_alone(make(), fitted): 1,
            bare_loop(make(), resizes, 1): 1,
            bare_loop(batches(), resizes, 2): 2,
            bare_pool(pool, make, resizes, 3): 1,
            Reads(reader, known): 1,
            Submits(reader, known, 3): 1,
            Lists(reader, known, 2): 2,
        }
        over = perf_counter()
        assert [work(over) for work in workers] == [*workers.values()]


def test_a_pool_of_threads_counts_what_it_answered(crops: list[Image]) -> None:
    seen: list[tuple[object, int]] = []

    def make() -> Callable[[Images], None]:
        engine = object()
        return lambda images: seen.append((engine, len(images)))

    resizes = [bare_resize(crop, InputSpec(height=16, width=32)) for crop in crops]
    with ThreadPoolExecutor(2) as pool:
        count = bare_pool(pool, make, resizes, 3)(perf_counter() + 0.05)
    assert count == len(seen) > 3
    assert {images for _, images in seen} == {1}
    assert len({engine for engine, _ in seen}) <= 2  # made once per thread


@pytest.mark.parametrize("kind", ["read", "submit", "list"])
def test_readers_ways_check_every_answer(
    tiny_artifact: Path, crops: list[Image], kind: str
) -> None:
    with closing(Reader.open(tiny_artifact, max_batch=4)) as reader:
        known = Known.of(reader, crops)
        kinds: dict[str, Callable[[Known], Reads]] = {
            "read": lambda known: Reads(reader, known),
            "submit": lambda known: Submits(reader, known, 3),
            "list": lambda known: Lists(reader, known, 4),
        }
        before = reader.stats().answered
        reads = kinds[kind](known)
        count = reads(perf_counter() + 0.05)
        assert count == reader.stats().answered - before > 0
        reads.check()
        assert {*reads.stages_us()} == {"prepare", "engine", "decode"}
        assert all(value > 0 for value in reads.stages_us().values())
        wrong = kinds[kind](Known(known.crops, [known.labels[0][:1]] * len(known.crops)))
        wrong(perf_counter() + 0.02)
        with pytest.raises(EngineError, match="void"):
            wrong.check()


def test_the_command(
    tiny_artifact: Path,
    crops: list[Image],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    require("tyro")
    for place, crop in enumerate(crops):
        cv2.imwrite(str(tmp_path / f"{place}.png"), crop)
    output = tmp_path / "out"
    options = ["--rounds", "3", "--turn", "0.02", "--batch", "4", "--cold-starts", "1"]
    arguments = [str(tiny_artifact), "--data", str(tmp_path), *options, "--output", str(output)]
    assert overhead.main(arguments) == 0
    printed = capsys.readouterr().out
    found = json.loads((output / "result.json").read_text(encoding="utf-8"))
    assert found["artifact"]["id"] == Manifest.load(tiny_artifact).id
    assert found["environment"]["device"]["cores"] >= 1
    assert {*found["threads"]} == {"1", "2"}
    for each in found["threads"].values():
        ways = {"read", "bare, in a thread pool", "submit", "read_many"}
        assert {*each["of_bare_loop"]} == ways
        rates = each["images_per_s"]
        assert all(rates[way] > 0 for way in (*each["of_bare_loop"], "engine alone", "bare loop"))
    assert found["cold_start"]["queries"] == 1
    report = (output / "report.md").read_text(encoding="utf-8")
    for text in (printed, report):
        assert "of the bare loop" in text
        assert "Fresh processes" in text
    assert overhead.main(arguments) == 1  # the output exists


@pytest.mark.parametrize("option", ["--threads", "--batch"])
def test_impossible_options(
    tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    require("tyro")
    assert overhead.main([str(tmp_path), "--data", str(tmp_path), option, "0"]) == 1
    assert "--threads and --batch" in capsys.readouterr().err
