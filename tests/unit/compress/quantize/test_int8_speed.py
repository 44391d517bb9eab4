"""The verdict on INT8's speed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks.noise import Noise
from benchmarks.scenarios import Comparison
from compress.quantize.decisions import score_session
from compress.quantize.int8_speed import Speed, compare_speed, score_on
from runtime.session import SessionOptions
from runtime.session_onnx import OnnxSession
from tests.engines import ENGINES, require
from tests.slimming import SPEC
from train.checkpoint import load_checkpoint
from train.data import load_crops
from train.graph import write_graph


def speed(**medians_ms: float) -> Speed:
    jitter = np.array([0.99, 1.0, 1.01, 1.0, 1.0] * 4)
    blocks = {name: median * jitter for name, median in medians_ms.items()}
    return Speed("onnxruntime", Comparison(blocks, Noise(0.0)))


def test_a_faster_int8_is_called_faster() -> None:
    text = speed(float=2.0, int8=0.8).verdict()
    assert text.startswith(
        "int8 is 2.50x faster than float on onnxruntime (2.000 ms float, 0.800 ms"
    )


@pytest.mark.parametrize("int8", [1.0, 1.3])
def test_one_that_is_no_faster_is_called_that(int8: float) -> None:
    text = speed(float=1.0, int8=int8).verdict()
    assert text.startswith("int8 is no faster than float on onnxruntime: keep the float network")
    assert f"{int8:.3f} ms int8" in text


def test_every_form_has_its_line() -> None:
    found = speed(float=1.0, int8=0.5, own=2.0)
    first, second = found.verdict().splitlines()
    assert first.startswith("int8 is 2.00x faster")
    assert second.startswith("own is no faster")
    assert found.to_object()["verdict"] == found.verdict()
    assert found.to_object()["speedups"]["int8"]["value"] == pytest.approx(2)


@pytest.mark.parametrize("engine", ENGINES.values())
def test_engines_run_the_form_that_they_are_given(
    engine: str, lamps_int8: Path, lamps: Path, tmp_path: Path
) -> None:
    require(engine)
    checkpoint = load_checkpoint(lamps_int8)
    schema, model = checkpoint.schema, onnx.load(checkpoint.graph)
    before = model.SerializeToString()
    crops = load_crops([lamps / "val"], schema, SPEC)
    found = score_on(engine, model, schema, SPEC, crops)
    decided = score_session(OnnxSession(checkpoint.graph, schema, SPEC, SessionOptions()), crops)
    for name, logits in decided.items():
        assert (found[name].argmax(1) == logits.argmax(1)).mean() >= 0.97
        assert np.abs(found[name] - logits).mean() < 0.1 * np.abs(logits).max()
    write_graph(checkpoint.build(), schema, SPEC, tmp_path / "float.onnx")
    models = {"int8": model, "float": onnx.load(tmp_path / "float.onnx")}
    timed = compare_speed(engine, models, schema, SPEC, crops.images_at(np.zeros(1, np.int64)))
    assert list(timed.comparison.blocks_ms) == ["float", "int8"]
    assert model.SerializeToString() == before
