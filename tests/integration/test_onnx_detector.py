from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime.gateway.finding import Finding, FindingOptions
from tests.engines import require
from tests.painted import blank

EXAMPLE = Path(__file__).parents[2] / "examples" / "onnx_detector.py"


def write_graph(path: Path, rows: list[list[float]]) -> None:
    """Boxes that do not depend on the picture, except that a black one has no confidence."""
    boxes = np.asarray([rows], np.float32)
    brightness = np.asarray([1, 1, 1, 1, 0, 1], np.float32)
    nodes = [
        helper.make_node("ReduceMax", ["images"], ["light"], keepdims=0),
        helper.make_node("Mul", ["light", "column"], ["lit"]),
        helper.make_node("Add", ["lit", "others"], ["factors"]),
        helper.make_node("Mul", ["boxes", "factors"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 128])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, len(rows), 6])],
        [
            numpy_helper.from_array(boxes, "boxes"),
            numpy_helper.from_array(1 - brightness, "column"),
            numpy_helper.from_array(brightness, "others"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save_model(model, path)


def test_the_example_is_a_detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("onnxruntime")
    write_graph(tmp_path / "detector.onnx", [[8, 16, 40, 32, 0.9, 0], [0, 0, 9, 9, 0.2, 0]])
    monkeypatch.setenv("DETECTOR_ONNX", str(tmp_path / "detector.onnx"))
    monkeypatch.syspath_prepend(str(EXAMPLE.parent))
    assert importlib.util.find_spec("onnx_detector") is not None
    finding = Finding(FindingOptions(detector="onnx_detector:make"))
    found = finding(blank(128, 512))
    assert (found.errors, found.problem) == (0, None)
    (region,) = found.regions
    # 128 x 64 px of the graph are 512 x 128 px of the frame.
    assert region.quad.tolist() == [[32, 32], [160, 32], [160, 64], [32, 64]]
    assert region.confidence == pytest.approx(0.9)
    assert finding(blank(128, 512) * 0).regions == []
