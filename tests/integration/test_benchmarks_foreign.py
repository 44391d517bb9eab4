"""Bare models through the commands, as artifacts go; and a TFLite graph made from torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import accuracy, latency
from benchmarks.compare.cli import main as compare
from benchmarks.foreign import open_foreign
from benchmarks.scoring import is_model
from runtime.session import SessionOptions
from tests.artifacts import TinyNetwork, random_images, write_artifact
from tests.engines import require
from tests.foreign import MEAN, SCALE, STD, Shape, description_of, write_description, write_foreign
from tests.integration.test_benchmarks import write_list

NETWORK = TinyNetwork(scale=3.0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("tyro", "matplotlib", "onnxruntime"):
        require(package)
    folder = tmp_path_factory.mktemp("foreign")
    write_artifact(folder / "artifact", NETWORK)
    write_foreign(folder / "bare", NETWORK, Shape(scores="probabilities"))
    write_list(folder / "test", 60, seed=1)
    return folder


def run(main: object, *arguments: object) -> int:
    return main([str(argument) for argument in arguments])  # type: ignore[no-any-return, operator]


def test_accuracy_is_that_of_the_artifact_with_the_same_network(
    place: Path, tmp_path: Path
) -> None:
    models = (place / "artifact", place / "bare" / "tiny.json")
    out = tmp_path / "out"
    assert run(accuracy.main, *models, "--data", place / "test", "--output", out) == 0
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))["artifacts"]
    assert result["tiny.json"]["metrics"]["exact"]["hits"] == 54
    assert result["tiny.json"]["versus_first"]["flips"]["hits"] == 0
    assert result["tiny.json"]["id"].startswith("small-onnx-tiny-")


def test_latency_of_a_bare_model(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = ("--duration", 0.1, "--cold-starts", 1, "--tries", 1, "--batch", 2)
    out = tmp_path / "out"
    models = (place / "artifact", place / "bare" / "tiny.onnx")
    assert run(latency.main, *models, *quick, "--output", out) == 0
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    found = result["artifacts"]["tiny.onnx"]
    assert found["engine"]["percentiles_ms"]["p50"] > 0
    assert found["cold_start"]["queries"] == 1
    graph, described = (place / "bare" / name for name in ("tiny.onnx", "tiny.json"))
    assert found["engine_mb"] == pytest.approx(graph.stat().st_size / 1e6)
    whole = (graph.stat().st_size + described.stat().st_size) / 1e6
    assert found["artifact_mb"] == pytest.approx(whole)
    assert "tiny.onnx" in result["interleaved"]["speedups"]
    assert "no golden crops, it is timed with pictures of noise" in capsys.readouterr().err


def test_what_can_be_opened_is_told_from_results(place: Path, tmp_path: Path) -> None:
    bare = place / "bare"
    assert all(map(is_model, (place / "artifact", bare / "tiny.json", bare / "tiny.onnx")))
    result = tmp_path / "jetson.json"
    result.write_text('{"command": "benchmarks.latency", "engine": 1}', encoding="utf-8")
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    others = (tmp_path, result, tmp_path / "broken.json", tmp_path / "absent", bare / "schema.json")
    assert not any(map(is_model, others))


def test_compare_an_artifact_with_a_bare_model(place: Path) -> None:
    pair = (place / "artifact", place / "bare" / "tiny.json")
    options = ("--data", place / "test", "--only", "accuracy", "--max-drop", 0.2)
    assert run(compare, *pair, *options) == 0


def test_tflite_of_a_float_network_that_wants_channels_first(tmp_path: Path) -> None:
    for package in ("litert_torch", "ai_edge_litert"):
        require(package)
    import torch
    from torch import Tensor, nn

    from export.tflite.converting import quiet

    class Torch(nn.Module):
        """``NETWORK`` for RGB as torchvision normalises it, with its outputs side by side."""

        def __init__(self) -> None:
            super().__init__()
            self.kernel = nn.Parameter(torch.from_numpy(NETWORK.kernel[:, ::-1].copy()))
            self.weight = nn.Parameter(torch.from_numpy(NETWORK.weight))
            self.bias = nn.Parameter(torch.from_numpy(NETWORK.bias))

        def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
            share = pixels * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
            maps = nn.functional.conv2d(share - 0.5, self.kernel, stride=8).relu()
            scores = maps.flatten(1) @ self.weight + self.bias
            return scores.split([head.size for head in NETWORK.schema.heads], dim=1)

    sample = torch.zeros(2, 3, 16, 32)
    with quiet():
        import litert_torch

        litert_torch.convert(Torch().eval(), (sample,)).export(str(tmp_path / "tiny.tflite"))
    value = description_of(NETWORK, Shape(batch=2), "tflite", "tiny.tflite")
    value["input"]["name"] = "args_0"
    heads = [head.name for head in NETWORK.schema.heads]
    value["outputs"]["heads"] = {name: f"output_{place}" for place, name in enumerate(heads)}
    assert value["input"]["scale"] == SCALE
    path = write_description(tmp_path, NETWORK, value)
    _, session = open_foreign(path, SessionOptions())
    images = random_images(5)
    found = session.run(images)
    for name, expected in NETWORK.logits(images).items():
        np.testing.assert_allclose(found[name], expected, atol=2e-3)
    session.close()
