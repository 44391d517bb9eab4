from __future__ import annotations

import configparser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from export.repository import deepstream
from export.repository.deepstream import write_deepstream
from export.repository.models import gather
from runtime.engine_imports import import_onnxruntime
from runtime.errors import ConfigError, ParityError
from runtime.preprocess import InputSpec
from runtime.schema import Head, HeadKind, Schema
from runtime.scores import probabilities
from tests.artifacts import SMALL_SCHEMA, TinyNetwork, random_images
from tests.engines import require

from .conftest import POINT, as_config


@pytest.fixture(autouse=True)
def _onnxruntime() -> None:
    require("onnxruntime")


def write(artifact: Path, target: Path, **options: Any) -> Path:
    config = as_config(artifact, server="deepstream", **options)
    target.mkdir()
    write_deepstream(gather(config), config, target)
    return target / artifact.name


def settings(place: Path) -> configparser.SectionProxy:
    parser = configparser.ConfigParser()
    parser.read_string((place / "config_infer.txt").read_text())
    return parser["property"]


def test_planes_in_probabilities_out(
    make: Callable[..., Path], network: TinyNetwork, tmp_path: Path
) -> None:
    place = write(make("plates"), tmp_path / "out")
    session = import_onnxruntime().InferenceSession(
        str(place / "nvinfer.onnx"), providers=["CPUExecutionProvider"]
    )
    (image,) = session.get_inputs()
    assert (image.type, image.shape) == ("tensor(float)", ["batch", 3, 16, 32])
    assert [output.name for output in session.get_outputs()] == [h.name for h in SMALL_SCHEMA.heads]
    images = random_images(5, seed=1)
    planes = images.transpose(0, 3, 1, 2).astype(np.float32)
    found = session.run(None, {"image": planes})
    for head, values in zip(SMALL_SCHEMA.heads, found, strict=True):
        logits = network.logits(images)[head.name]
        expected = probabilities(head, logits, POINT.temperatures.get(head.name, 1.0))
        np.testing.assert_allclose(values, expected, atol=1e-5)


def test_nvinfers_own_parser_finds_each_heads_best_label(
    make: Callable[..., Path], network: TinyNetwork, tmp_path: Path
) -> None:
    """As ``parseAttributesFromSoftmaxLayers`` does: line = output, word = class, most probable."""
    place = write(make("plates"), tmp_path / "out")
    labels = [line.split(";") for line in (place / "labels.txt").read_text("utf-8").splitlines()]
    graph = onnx.load(place / "nvinfer.onnx").graph
    assert settings(place)["output-blob-names"].split(";") == [o.name for o in graph.output]
    assert float(settings(place)["classifier-threshold"]) == 0
    logits = network.logits(random_images(1, seed=3))
    for line, head in zip(labels, SMALL_SCHEMA.heads, strict=True):
        best = int(logits[head.name][0].argmax())
        assert line[best] == head.labels[best]


def test_tensorrt_reads_the_graph_and_keeps_the_order(
    make: Callable[..., Path], tmp_path: Path
) -> None:
    require("tensorrt_rtx")
    from runtime.trt_module import import_tensorrt

    trt = import_tensorrt("rtx")
    place = write(make("plates"), tmp_path / "out")
    log = trt.Logger(trt.Logger.ERROR)
    network = trt.Builder(log).create_network(0)
    assert trt.OnnxParser(network, log).parse((place / "nvinfer.onnx").read_bytes())
    image = network.get_input(0)
    assert (image.name, image.dtype, [*image.shape]) == ("image", trt.float32, [-1, 3, 16, 32])
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    expected = [(head.name, trt.float32, [-1, head.size]) for head in SMALL_SCHEMA.heads]
    assert [(output.name, output.dtype, [*output.shape]) for output in outputs] == expected


def test_config_says_what_the_graph_takes(make: Callable[..., Path], tmp_path: Path) -> None:
    found = settings(write(make("plates"), tmp_path / "out", max_batch=8))
    assert found["infer-dims"] == "3;16;32"
    assert found["batch-size"] == "8"
    for key, value in {
        "network-type": "1", "process-mode": "2", "network-mode": "0", "model-color-format": "1",
        "net-scale-factor": "1.0", "offsets": "0;0;0", "onnx-file": "nvinfer.onnx",
        "labelfile-path": "labels.txt", "output-tensor-meta": "1",
    }.items():  # fmt: skip
        assert found[key] == value


def test_a_fixed_batch_is_nvinfers(make: Callable[..., Path], tmp_path: Path) -> None:
    place = write(make("plates", batch=4), tmp_path / "out", max_batch=8)
    assert settings(place)["batch-size"] == "4"


def test_what_is_lost_is_told(
    make: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(make("plates"), tmp_path / "out")
    told = capsys.readouterr().err
    assert "most probable label of extras" in told
    assert "does not decode code" in told


def test_a_graph_that_computes_something_else_is_refused(
    make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = deepstream._probabilities_out
    monkeypatch.setattr(
        deepstream, "_probabilities_out", lambda model, head, _: right(model, head, 1.7)
    )
    with pytest.raises(ParityError, match="differs by"):
        write(make("plates"), tmp_path / "out")


def _semicolon() -> TinyNetwork:
    head = Head(name="kind", kind=HeadKind.CHOICE, labels=("a;b", "c"))
    return TinyNetwork(Schema(name="s", heads=(head,)))


def _letterbox() -> TinyNetwork:
    return TinyNetwork(spec=InputSpec(height=16, width=32, resize="letterbox"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"precision": "int8"}, "INT8 ranges"),
        ({"network": _letterbox()}, "black"),
        ({"network": _semicolon(), "operating": None}, "semicolon"),
    ],
)
def test_what_nvinfer_would_run_otherwise_is_refused(
    make: Callable[..., Path], tmp_path: Path, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        write(make("plates", **options), tmp_path / "out")


def test_no_versions(make: Callable[..., Path], tmp_path: Path) -> None:
    config = as_config(make("a"), make("b", version=2), server="deepstream", names=("x", "x"))
    with pytest.raises(ConfigError, match="knows no versions"):
        write_deepstream(gather(config), config, tmp_path)


def test_engines_for_other_hosts_are_refused(tensorrt: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"export\.onnx"):
        write(tensorrt, tmp_path / "out")
