"""Repositories served by the real Triton server, read by our client."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from export.repository.cli import main
from runtime import Reader, Result
from runtime.errors import EngineError
from runtime.kserve_client import connect
from runtime.scores import OperatingPoint
from tests.artifacts import SMALL_SCHEMA, TinyNetwork, random_images, write_artifact
from tests.engines import require
from tests.triton import run_triton, stand_in

POINT = OperatingPoint(temperatures={"first": 1.5}, answer_threshold=0.1)
ENGINES = ("onnx", "openvino")


@pytest.fixture(scope="module")
def artifacts(network: TinyNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("onnxruntime", "openvino"):
        require(package)
    folder = tmp_path_factory.mktemp("artifacts")
    for engine in ENGINES:
        write_artifact(folder / engine, network, engine=engine, operating=POINT)
    return folder


@pytest.fixture(scope="module")
def served(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server's URL and its repository."""
    scratch = tmp_path_factory.mktemp("triton")
    repository = scratch / "repository"
    folders = [str(artifacts / engine) for engine in ENGINES]
    options = ["--max-batch", "8", "--queue-delay-us", "20000"]
    assert main([*folders, "--for", "triton", "--output", str(repository), *options]) == 0
    stand_in(repository)
    with run_triton(repository, scratch) as url:
        yield url, repository


@pytest.mark.parametrize("engine", ENGINES)
def test_the_server_answers_as_the_engine_at_hand(
    served: tuple[str, Path], artifacts: Path, engine: str
) -> None:
    url, _ = served
    images = [*random_images(19, seed=4)]
    with (
        Reader.open(artifacts / engine) as local,
        connect(url, artifacts / engine, model=engine, version=1, max_batch=8) as remote,
    ):
        assert remote.engine["engine"] == "kserve: triton"
        for here, there in zip(local.read_many(images), remote.read_many(images), strict=True):
            assert isinstance(here, Result)
            assert isinstance(there, Result)
            assert (there.text, there.accepted) == (here.text, here.accepted)
            assert there.confidence == pytest.approx(here.confidence, abs=1e-5)


def test_a_model_is_warm_before_it_is_ready(served: tuple[str, Path]) -> None:
    _, repository = served
    for engine in ENGINES:
        log = (repository / engine / "1" / "batches.log").read_text().splitlines()
        assert log[0] == "1"
        assert sum(map(int, log[1].split())) == 8


def test_requests_that_come_together_run_together(
    served: tuple[str, Path], artifacts: Path
) -> None:
    url, repository = served
    images = [*random_images(64, seed=6)]
    with (
        connect(url, artifacts / "onnx", model="onnx") as reader,
        ThreadPoolExecutor(16) as pool,
    ):
        assert all(isinstance(result, Result) for result in pool.map(reader.read, images))
    lines = (repository / "onnx" / "1" / "batches.log").read_text().splitlines()
    assert max(len(line.split()) for line in lines) > 1


def test_a_batch_beyond_the_servers_is_its_error(served: tuple[str, Path], artifacts: Path) -> None:
    url, _ = served
    with connect(url, artifacts / "onnx", model="onnx", max_batch=9) as reader:
        answers = reader.read_many([*random_images(9)])
    assert all(isinstance(answer, EngineError) for answer in answers)
    assert "batch" in str(answers[0])


def test_labels_are_the_servers_too(served: tuple[str, Path], network: TinyNetwork) -> None:
    """Triton's classification extension ranks a head's labels by the label files."""
    url, _ = served
    image = random_images(1, seed=2)
    pixels = image.ravel().tolist()
    question = {
        "inputs": [{"name": "image", "shape": image.shape, "datatype": "UINT8", "data": pixels}],
        "outputs": [
            {"name": head.name, "parameters": {"classification": head.size}}
            for head in SMALL_SCHEMA.heads
        ],
    }  # fmt: skip
    request = urllib.request.Request(
        f"{url}/v2/models/onnx/infer", json.dumps(question).encode(), method="POST"
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        outputs = json.load(response)["outputs"]
    logits = network.logits(image)
    for head, output in zip(SMALL_SCHEMA.heads, outputs, strict=True):
        ranked = [head.labels[i] for i in np.argsort(-logits[head.name][0])]
        assert [entry.split(":")[2] for entry in output["data"]] == ranked
