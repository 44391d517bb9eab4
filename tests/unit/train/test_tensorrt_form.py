"""Other forms of the deployed graph: half precision, and the opset of TensorRT 8.6."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from runtime.engine_imports import import_onnxruntime
from runtime.errors import ConfigError
from tests.artifacts import random_images
from tests.slimming import SCHEMA, SPEC, tiny_network
from tests.unit.train.readiness.graphs import model, node
from train.graph import OPSET, write_graph
from train.readiness import check_readiness
from train.tensorrt_form import in_half_precision, lower_opset

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def graph(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    path = tmp_path_factory.mktemp("graph") / "float.onnx"
    write_graph(tiny_network(), SCHEMA, SPEC, path)
    return onnx.load(path)


def run(found: onnx.ModelProto) -> list[Any]:
    onnx.checker.check_model(found, full_check=True)
    session = import_onnxruntime().InferenceSession(
        found.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    scores: list[Any] = session.run(None, {"image": random_images(3, SPEC)})
    return scores


def opset(found: onnx.ModelProto) -> int:
    return int(found.opset_import[0].version)


def test_the_deployed_graph_is_ready_as_it_is(graph: onnx.ModelProto) -> None:
    assert opset(graph) == OPSET
    assert check_readiness(graph, "10.3") == []


def test_half_precision_keeps_inputs_outputs_and_answers(graph: onnx.ModelProto) -> None:
    half = in_half_precision(onnx.ModelProto.FromString(graph.SerializeToString()))
    kinds = {entry.data_type for entry in half.graph.initializer}
    assert TensorProto.FLOAT16 in kinds
    assert TensorProto.FLOAT not in kinds
    assert [port.name for port in half.graph.output] == ["colour", "side"]
    for expected, found in zip(run(graph), run(half), strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=0.02, atol=0.02)
        assert not np.array_equal(found, expected)
    assert check_readiness(half, "10.3") == []


def test_an_older_opset_computes_the_same(graph: onnx.ModelProto) -> None:
    older = lower_opset(graph, 17)
    assert opset(older) == 17
    assert check_readiness(older, "8.6") == []
    for expected, found in zip(run(graph), run(older), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_int8_decisions_survive_an_older_opset(lamps_int8: Path) -> None:
    graph = onnx.load(lamps_int8 / "int8.onnx")
    older = lower_opset(graph, 17)
    assert check_readiness(older, "8.6") == []
    for expected, found in zip(run(graph), run(older), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("found", "name"),
    [
        (model([node("Split", "x", "y", axis=1, num_outputs=1)], opset=18), "Split"),
        (
            model(
                [node("ReduceMean", "x axes", "y")],
                inputs={"x": (TensorProto.FLOAT, ["n", 4]), "axes": (TensorProto.INT64, [1])},
                opset=18,
            ),
            "ReduceMean",
        ),
    ],
)
def test_an_operator_without_an_older_form_is_refused(found: onnx.ModelProto, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name} has no form of opset 17; choose a newer"):
        lower_opset(found, 17)


def test_what_the_converter_refuses_is_refused() -> None:
    gelu = model([helper.make_node("Gelu", ["x"], ["y"])], opset=20)
    with pytest.raises(ConfigError, match="cannot be written at opset 17"):
        lower_opset(gelu, 17)
