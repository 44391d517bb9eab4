"""The TFLite session on graphs written by hand; needs ai-edge-litert alone."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.arrays import Images
from runtime.errors import EngineError
from runtime.session import SessionOptions
from runtime.session_tflite import TfliteSession, host_facts
from tests.artifacts import SMALL_INPUT, SMALL_SCHEMA, random_images
from tests.engines import require

require("ai_edge_litert")
flatbuffers = pytest.importorskip("flatbuffers")
from ai_edge_litert import schema_py_generated as tfl  # noqa: E402

FEATURES = SMALL_INPUT.height * SMALL_INPUT.width * 3
WEIGHTS = {
    head.name: np.random.default_rng(place).normal(0, 0.01, (head.size, FEATURES)).astype("f4")
    for place, head in enumerate(SMALL_SCHEMA.heads)
}


def expected(images: Images) -> dict[str, Any]:
    flat = images.reshape(len(images), -1).astype(np.float32)
    return {name: flat @ weight.T for name, weight in WEIGHTS.items()}


class Graph:
    """CAST, RESHAPE, and one FULLY_CONNECTED per head, in the order of ``heads``."""

    def __init__(self, batch: int = 1, heads: tuple[str, ...] = tuple(WEIGHTS)) -> None:
        self.model = tfl.ModelT()
        self.model.version, self.model.operatorCodes = 3, []
        self.model.buffers = [tfl.BufferT()]
        self.graph = tfl.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        image = self.tensor("any", (batch, *SMALL_INPUT.shape), tfl.TensorType.UINT8)
        real = self.tensor("real", (batch, *SMALL_INPUT.shape))
        flat = self.tensor("flat", (batch, FEATURES))
        shape = self.tensor("shape", (2,), tfl.TensorType.INT32, np.array([batch, FEATURES], "i4"))
        self.run(tfl.BuiltinOperator.CAST, [image], real)
        self.run(tfl.BuiltinOperator.RESHAPE, [real, shape], flat)
        places = {}
        for name in heads:
            weight = self.tensor(f"{name}/w", WEIGHTS[name].shape, content=WEIGHTS[name])
            places[name] = self.tensor(f"out/{name}", (batch, len(WEIGHTS[name])))
            self.run(tfl.BuiltinOperator.FULLY_CONNECTED, [flat, weight, -1], places[name])
        self.graph.inputs, self.graph.outputs = [image], list(places.values())
        signature = tfl.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
        signature.inputs = [self.named("image", image)]
        signature.outputs = [self.named(*item) for item in places.items()]
        self.model.subgraphs, self.model.signatureDefs = [self.graph], [signature]

    @staticmethod
    def named(name: str, index: int) -> Any:
        entry = tfl.TensorMapT()
        entry.name, entry.tensorIndex = name.encode(), index
        return entry

    def tensor(
        self, name: str, shape: Any, kind: int = tfl.TensorType.FLOAT32, content: Any = None
    ) -> int:
        tensor, buffer = tfl.TensorT(), tfl.BufferT()
        tensor.name, tensor.shape, tensor.type = name.encode(), np.array(shape, "i4"), kind
        if content is not None:
            buffer.data = np.frombuffer(content.tobytes(), np.uint8)
        tensor.buffer = len(self.model.buffers)
        self.model.buffers.append(buffer)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def run(self, kind: int, inputs: list[int], output: int) -> None:
        code, operator = tfl.OperatorCodeT(), tfl.OperatorT()
        code.builtinCode = code.deprecatedBuiltinCode = kind
        code.version = 1
        self.model.operatorCodes.append(code)
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = inputs, [output]
        if kind == tfl.BuiltinOperator.FULLY_CONNECTED:
            operator.builtinOptionsType = tfl.BuiltinOptions.FullyConnectedOptions
            operator.builtinOptions = tfl.FullyConnectedOptionsT()
        self.graph.operators.append(operator)

    def write(self, path: Path) -> Path:
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path


def opened(path: Path, **options: Any) -> TfliteSession:
    return TfliteSession(path, SMALL_SCHEMA, SMALL_INPUT, SessionOptions(**options))


def assert_right(session: TfliteSession, images: Images) -> None:
    found = session.run(images)
    assert list(found) == list(WEIGHTS)
    for name, values in expected(images).items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("batch", [1, 4])
def test_any_number_of_images(tmp_path: Path, batch: int) -> None:
    session = opened(Graph(batch).write(tmp_path / "m.tflite"))
    for count in (1, 4, 7):
        assert_right(session, random_images(count, seed=count))


def test_outputs_are_found_by_name(tmp_path: Path) -> None:
    # first and second have the sizes 3 and 4, third and extras both have 3.
    order = ("extras", "third", "colour", "second", "first")
    session = opened(Graph(heads=order).write(tmp_path / "m.tflite"))
    assert_right(session, random_images(3))


def test_an_int8_input_holds_the_pixel_less_128(tmp_path: Path) -> None:
    graph = Graph()
    image = graph.graph.tensors[0]
    image.type = tfl.TensorType.INT8
    image.quantization = tfl.QuantizationParametersT()
    image.quantization.scale = np.array([1], "f4")
    image.quantization.zeroPoint = np.array([-128], "i8")
    # CAST takes the integers as they are, without the grid.
    session = opened(graph.write(tmp_path / "m.tflite"))
    images = random_images(2)
    flat = images.reshape(2, -1).astype(np.float32) - 128
    found = session.run(images)
    for name, weight in WEIGHTS.items():
        np.testing.assert_allclose(found[name], flat @ weight.T, rtol=1e-4, atol=1e-3)


def test_many_threads_get_their_own_scores(tmp_path: Path) -> None:
    session = opened(Graph().write(tmp_path / "m.tflite"))
    wrong: list[object] = []

    def work(seed: int) -> None:
        images = random_images(2, seed=seed)
        wanted = expected(images)
        for _ in range(30):
            found = session.run(images)
            wrong.extend(n for n in wanted if not np.allclose(found[n], wanted[n], atol=1e-2))

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert not wrong


def test_closed_sessions_refuse(tmp_path: Path) -> None:
    session = opened(Graph().write(tmp_path / "m.tflite"))
    session.close()
    session.close()
    with pytest.raises(EngineError, match="was closed"):
        session.run(random_images(1))


@pytest.mark.parametrize("content", [b"", b"no graph", b"\0\0\0\0TFL3", None])
def test_files_that_are_no_graph(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "m.tflite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EngineError, match="ai-edge-litert cannot load"):
        opened(path)


def test_graphs_of_another_contract_are_refused(tmp_path: Path) -> None:
    missing = Graph(heads=tuple(WEIGHTS)[:-1]).write(tmp_path / "missing.tflite")
    with pytest.raises(EngineError, match="the graph's outputs must be"):
        opened(missing)
    renamed = Graph()
    renamed.model.signatureDefs[0].inputs[0].name = b"picture"
    with pytest.raises(EngineError, match="the graph's input must be"):
        opened(renamed.write(tmp_path / "renamed.tflite"))
    unsigned = Graph()
    unsigned.model.signatureDefs = None
    with pytest.raises(EngineError, match="cannot load"):
        opened(unsigned.write(tmp_path / "unsigned.tflite"))


def test_the_description_tells_what_runs_elsewhere(tmp_path: Path) -> None:
    description = opened(Graph().write(tmp_path / "m.tflite"), threads=2).description
    assert description["engine"] == "tflite"
    assert description["version"] == host_facts()["ai-edge-litert"]
    assert (description["precision"], description["threads"]) == ("fp32", "2")
    assert "of 7 nodes outside the XNNPACK delegate" in description["fallback"]
    assert "1 CAST" in description["fallback"]
