"""Foreign graphs give the answers of the network that is inside them, computed by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import benchmarks.foreign.graph_trt as graph_trt
from benchmarks.foreign import find_description, open_foreign, open_reader
from benchmarks.foreign.description import InputDescription
from benchmarks.foreign.graphs import Tensor
from benchmarks.foreign.session import prepare
from runtime.arrays import Images, Logits
from runtime.decode import decode
from runtime.errors import ConfigError, EngineError
from runtime.preprocess import InputSpec
from runtime.schema import HeadKind
from runtime.scores import OperatingPoint, sigmoid, softmax
from runtime.session import SessionOptions
from tests.artifacts import SMALL_INPUT, TinyNetwork, random_images
from tests.engines import ENGINES, require
from tests.fake_tensorrt import cuda
from tests.fake_tensorrt.fixtures import ORIN, install
from tests.fake_tensorrt.module import plan
from tests.foreign import ROW_SCHEMA, Shape, description_of, write_description, write_foreign

NETWORK = TinyNetwork(scale=3.0)
ROWS = TinyNetwork(ROW_SCHEMA, scale=3.0)
IMAGES = random_images(5)
SHAPES = {
    "torchvision": Shape(),
    "keras": Shape(layout="NHWC", dtype="uint8", colour="RGB", scores="probabilities"),
    "half": Shape(dtype="float16", colour="BGR"),
    "grey": Shape(layout="NHWC", colour="GREY"),
    "fixed batch": Shape(batch=2),
    "rows": Shape(rows="TK", scores="probabilities"),
    "transposed rows": Shape(rows="KT"),
    "flat rows": Shape(rows="flat", layout="NHWC", dtype="uint8", colour="GREY"),
}


def network_of(shape: Shape) -> TinyNetwork:
    return ROWS if shape.rows else NETWORK


def by_hand(shape: Shape, images: Images) -> Logits:
    if shape.colour == "GREY":
        grey = [cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in images]
        images = np.stack([np.repeat(each[..., None], 3, axis=2) for each in grey])
    return network_of(shape).logits(images)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_scores_are_those_computed_by_hand(engine: str, shape: Shape, tmp_path: Path) -> None:
    require(ENGINES[engine])
    path = write_foreign(tmp_path, network_of(shape), shape, engine=engine)
    manifest, session = open_foreign(path, SessionOptions())
    expected = by_hand(shape, IMAGES)
    tolerance = 0.05 if shape.dtype == "float16" else 2e-3
    for images in (IMAGES, IMAGES[:1]):
        found = session.run(images)
        assert [*found] == [head.name for head in manifest.schema.heads]
        for head in manifest.schema.heads:
            wanted = expected[head.name][: len(images)]
            assert found[head.name].dtype == np.float32
            if shape.scores == "probabilities":  # logits are known but for what softmax forgets
                turn = softmax if head.kind is HeadKind.CHOICE else sigmoid
                np.testing.assert_allclose(turn(found[head.name]), turn(wanted), atol=1e-4)
            else:
                np.testing.assert_allclose(found[head.name], wanted, atol=tolerance)
    session.close()
    session.close()
    with pytest.raises(EngineError, match="closed"):
        session.run(IMAGES)


def test_a_reader_answers_from_the_model_itself_by_its_description_beside(tmp_path: Path) -> None:
    write_foreign(tmp_path, NETWORK)
    expected = decode(NETWORK.schema, NETWORK.logits(IMAGES), OperatingPoint())
    with open_reader(tmp_path / "tiny.onnx", max_batch=3) as reader:
        texts = [found.text for found in reader.read_many([*IMAGES])]  # type: ignore[union-attr]
    assert texts == list(expected.readings["code"].texts)


Change = Callable[[dict[str, Any]], object]


def wrong(shape: Shape, tmp_path: Path, change: Change) -> str:
    """What is said when the description is changed."""
    path = write_foreign(tmp_path, network_of(shape), shape)
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        open_foreign(path, SessionOptions())
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda v: v["input"].update(name="x"), "input.name is 'x', but the graph's input is 'pi"),
        (lambda v: v["input"].update(dtype="uint8"), "float32 (?, 3, 16, 32)"),
        (lambda v: v["input"].update(layout="NHWC"), 'did you mean layout = "NCHW"?'),
        (lambda v: v["input"].update(height=24), "did you mean height = 16, width = 32?"),
        (lambda v: v["input"].update(colour="GREY", mean=[0], std=[1]), "one of BGR, RGB?"),
        (lambda v: v["outputs"].update(scores="probabilities"), 'say scores = "logits"'),
        (lambda v: v["outputs"]["heads"].update(first="nowhere"), "no output 'nowhere'; it has '"),
        (lambda v: v["outputs"]["heads"].update(first=9), "no output 9"),
        (lambda v: v["outputs"]["heads"].update(first="out_second"), "need 3 scores, but the out"),
        (lambda v: v["input"].update(std=[0.0]), "input.std must be above"),
        (lambda v: v["input"].update(scale=1e9), "input.scale must be"),
        (lambda v: v["input"].update(mean=[0, 1]), "2 numbers, but colour 'RGB' has 3 channels"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_with_what_was_found(
    change: Change, told: str, tmp_path: Path
) -> None:
    require("onnxruntime")
    assert told in wrong(Shape(), tmp_path, change)


def test_softmax_that_nobody_told_of_is_noticed(tmp_path: Path) -> None:
    require("onnxruntime")

    def change(value: dict[str, Any]) -> None:
        value["outputs"]["scores"] = "logits"

    assert "softmax was applied" in wrong(Shape(scores="probabilities"), tmp_path, change)


def test_rows_must_lie_as_told_and_pixels_take_no_scale(tmp_path: Path) -> None:
    require("onnxruntime")

    def axes(value: dict[str, Any]) -> None:
        value["outputs"]["axes"] = "TK"

    assert 'did you mean axes = "KT"?' in wrong(Shape(rows="KT"), tmp_path, axes)

    def scale(value: dict[str, Any]) -> None:
        value["input"]["scale"] = 0.5

    assert "takes pixels as they are" in wrong(Shape(dtype="uint8"), tmp_path, scale)


def test_scores_that_are_no_numbers_are_not_taken(tmp_path: Path) -> None:
    require("onnxruntime")
    broken = TinyNetwork()
    broken.bias[0] = np.nan
    with pytest.raises(ConfigError, match="NaN or infinity for a picture of noise"):
        open_foreign(write_foreign(tmp_path, broken), SessionOptions())


def test_a_model_that_is_no_model_or_not_there(tmp_path: Path) -> None:
    require("onnxruntime")
    path = write_foreign(tmp_path, NETWORK)
    (tmp_path / "tiny.onnx").write_bytes(b"no graph")
    with pytest.raises(EngineError, match="cannot load"):
        open_foreign(path, SessionOptions())
    (tmp_path / "tiny.onnx").unlink()
    with pytest.raises(EngineError, match="there is no model"):
        open_foreign(path, SessionOptions())
    (tmp_path / "other.onnx").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"bare model.*python -m benchmarks\.foreign"):
        find_description(tmp_path / "other.onnx")
    with pytest.raises(ConfigError, match="neither an artifact folder"):
        find_description(Path(__file__))


def spec(**values: Any) -> InputDescription:
    size = InputSpec(height=8, width=8)
    plain = {"name": "x", "layout": "NHWC", "dtype": "int8", "colour": "BGR", "size": size}
    return InputDescription(**{**plain, **values})


def test_integers_of_a_grid_mean_the_normalised_pixels() -> None:
    images = random_images(2, InputSpec(height=8, width=8))
    grid = (0.02, -14)
    given = spec(scale=1 / 255, mean=(0.5,), std=(0.25,))
    found = prepare(images, given, Tensor("x", "int8", (1, 8, 8, 3), grid))
    assert found.dtype == np.int8
    meant = (found.astype(np.float64) + 14) * 0.02
    np.testing.assert_allclose(meant, (images / 255 - 0.5) / 0.25, atol=0.0101)
    shifted = prepare(images, spec(), Tensor("x", "int8", (1, 8, 8, 3), (1.0, -128)))
    np.testing.assert_array_equal(shifted, images.astype(np.int16) - 128)


def test_a_tensorrt_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "10.3.0")
    monkeypatch.setattr(graph_trt, "cuda_devices", lambda: (ORIN,))
    shapes = [(size, *SMALL_INPUT.shape) for size in (1, 2, 4)]
    graph = NETWORK.to_onnx().SerializeToString()
    (tmp_path / "tiny.engine").write_bytes(plan("10.3.0", graph, shapes))
    shape = Shape(layout="NHWC", dtype="uint8", colour="BGR")
    value = description_of(NETWORK, shape, "trt", "tiny.engine")
    value["input"]["name"] = "image"
    value["outputs"]["heads"] = {head.name: head.name for head in NETWORK.schema.heads}
    manifest, session = open_foreign(write_description(tmp_path, NETWORK, value), SessionOptions())
    found = session.run(IMAGES)  # more than the engine takes at a time
    for name, expected in NETWORK.logits(IMAGES).items():
        np.testing.assert_allclose(found[name], expected, atol=1e-4)
    assert "Orin" in session.description["device"]
    session.close()
    assert not cuda.LIVE
    (tmp_path / "tiny.engine").write_bytes(plan("10.9.0", graph, shapes))
    with pytest.raises(EngineError, match=r"built by 10\.9\.0"):
        open_foreign(manifest.description.path, SessionOptions())
