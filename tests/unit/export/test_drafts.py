"""What the passport says of the graph that an engine was made from."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from export.drafts import _quantised_layers
from export.fixed_batch import fix_batch
from runtime.session import SessionOptions
from runtime.session_onnx import OnnxSession
from tests.artifacts import SMALL_INPUT, SMALL_SCHEMA, TinyNetwork, random_images
from train.checkpoint import load_checkpoint


def test_quantised_layers_are_counted(lamps_int8: Path, tmp_path: Path) -> None:
    graph = load_checkpoint(lamps_int8).graph
    kinds = [node.op_type for node in onnx.load(graph).graph.node]
    # Every layer of this network was quantised.
    assert _quantised_layers(graph) == kinds.count("Conv") + kinds.count("Gemm") > 10
    onnx.save(TinyNetwork().to_onnx(), tmp_path / "float.onnx")
    assert _quantised_layers(tmp_path / "float.onnx") == 0


@pytest.mark.parametrize("batch", [1, 3])
def test_a_graph_of_fixed_batch_computes_the_same(tmp_path: Path, batch: int) -> None:
    network = TinyNetwork()
    onnx.save(network.to_onnx(), tmp_path / "free.onnx")
    fix_batch(tmp_path / "free.onnx", tmp_path / "fixed.onnx", batch)
    model = onnx.load(tmp_path / "fixed.onnx")
    values = [*model.graph.input, *model.graph.output]
    assert {value.type.tensor_type.shape.dim[0].dim_value for value in values} == {batch}
    session = OnnxSession(tmp_path / "fixed.onnx", SMALL_SCHEMA, SMALL_INPUT, SessionOptions())
    images = random_images(4)
    found, expected = session.run(images), network.logits(images)
    assert all(abs(found[name] - values).max() < 1e-4 for name, values in expected.items())
