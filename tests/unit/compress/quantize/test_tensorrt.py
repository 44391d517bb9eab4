"""What compress.quantize places is what TensorRT reads."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from compress.quantize.cli import _forms
from runtime.errors import EngineError
from train.checkpoint import load_checkpoint
from train.readiness import TARGETS, check_readiness


@pytest.mark.parametrize("target", sorted(set(TARGETS) - {"8.6"}))
def test_the_decisions_are_ready_for_tensorrt(lamps_int8: Path, target: Any) -> None:
    assert check_readiness(onnx.load(load_checkpoint(lamps_int8).graph), target) == []


def test_a_graph_that_tensorrt_would_misread_is_an_error_of_ours(lamps_int8: Path) -> None:
    model = onnx.load(load_checkpoint(lamps_int8).graph)
    zero = next(entry for entry in model.graph.initializer if entry.name == "div/zero")
    zero.CopyFrom(numpy_helper.from_array(np.zeros((), np.uint8), zero.name))
    bench: Any = SimpleNamespace(config=SimpleNamespace(engine_best=False))
    decisions: Any = SimpleNamespace(graph=lambda names: model)
    with pytest.raises(EngineError) as caught:
        _forms(bench, decisions, SimpleNamespace(names=()))  # type: ignore[arg-type]
    told = str(caught.value)
    assert told.startswith("the INT8 graph (an error of Headlight: report it) is not ready for")
    assert "R03 div/QuantizeLinear: UINT8, which TensorRT reads as INT8" in told
