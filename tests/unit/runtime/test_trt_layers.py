"""What the engine inspector says of layers, in the words of several versions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runtime.trt_layers import count_precisions


def layer(kind: str, text: str, **more: Any) -> dict[str, Any]:
    return {"LayerType": kind, "Inputs": [{"Name": "x", **more, "Format/Datatype": text}]}


LAYERS = [
    # As NVIDIA's developer guide shows it for TensorRT 8.
    layer("CaskConvolution", "Thirty-two wide channel vectorized row major Int8 format."),
    layer("CaskConvolution", "Row major linear FP16 format"),
    layer("CaskGemmMatrixMultiply", "Int8"),
    layer("gemm", "Half"),
    # The type of what a layer reads decides, not of what it writes.
    {**layer("CaskConvolution", "Row major linear FP32"), "Outputs": [{"Format/Datatype": "Int8"}]},
    # As TensorRT 11 says it.
    {"LayerType": "MatrixMultiply", "Inputs": [{"Format": "LINEAR", "DataType": "BF16"}]},
    {"LayerType": "kgen", "ParameterType": "Convolution", "Inputs": [{"Datatype": "TF32"}]},
]
OTHERS = [
    layer("Reformat", "Row major Int8 format"),
    layer("CaskPooling", "Row major Int8 format"),
    layer("CaskConvolution", "UInt8"),
    {"LayerType": "CaskConvolution", "Inputs": []},
    {"LayerType": "Myelin", "Name": "{ForeignNode[conv1...conv9]}"},
    "conv1 + relu1",
]


def test_layers_are_counted_by_what_they_read() -> None:
    found = count_precisions(json.dumps({"Layers": [*LAYERS, *OTHERS]}))
    assert found == {"int8": 2, "fp16": 2, "fp32": 2, "bf16": 1}


@pytest.mark.parametrize("report", ["", "no JSON", "[]", "{}", '{"Layers": null}', "null"])
def test_a_report_that_tells_nothing(report: str) -> None:
    assert count_precisions(report) == {}
