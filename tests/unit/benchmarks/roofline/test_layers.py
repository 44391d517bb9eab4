from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from benchmarks.roofline.layers import Layer, products_along, read_layers, working_set_bytes
from runtime.errors import ConfigError, EngineError
from runtime.manifest import Manifest
from tests.artifacts import SMALL_SCHEMA, TinyNetwork, write_artifact
from tests.engines import require

SCORES = sum(head.size for head in SMALL_SCHEMA.heads)
CELLS = (16 // 8) * (32 // 8)
"""Outputs of the convolution, per channel: 8x8 cells of a 16x32 input."""


def test_layers_of_every_graph_are_counted_alike(tiny_artifact: Path) -> None:
    require("openvino")
    manifest = Manifest.load(tiny_artifact)
    for batch in (1, 3):
        convolution, product = read_layers(tiny_artifact, manifest, batch)
        # 8 channels from 3, 8x8 taps; then 8 * 8 features to all scores.
        assert convolution.macs == batch * 8 * CELLS * 3 * 64
        assert convolution.weights == 8 * 3 * 64
        assert convolution.activations == batch * (3 * 16 * 32 + 8 * CELLS)
        assert product.macs == batch * 8 * CELLS * SCORES
        assert product.weights == 8 * CELLS * SCORES
        assert product.activations == batch * (8 * CELLS + SCORES)
        assert {convolution.precision, product.precision} == {"fp32"}


def test_a_graph_of_another_batch_is_refused(tmp_path: Path) -> None:
    require("openvino")
    manifest = write_artifact(tmp_path / "fixed", TinyNetwork(), engine="onnx", batch=2)
    found = read_layers(tmp_path / "fixed", manifest, 2)
    assert found[0].macs == 2 * 8 * CELLS * 3 * 64
    (tmp_path / "fixed" / manifest.engine_file).write_bytes(b"no graph")
    with pytest.raises(EngineError, match="cannot read"):
        read_layers(tmp_path / "fixed", manifest, 2)


def test_an_engine_without_a_graph_is_told(tmp_path: Path) -> None:
    manifest = write_artifact(tmp_path / "one", TinyNetwork(), engine="onnx")
    plan = replace(
        manifest,
        engine_file="model.plan",
        files={**manifest.files, "model.plan": manifest.files["model.onnx"]},
    )
    with pytest.raises(ConfigError, match="no graph that layers can be counted in"):
        read_layers(tmp_path / "one", plan, 1)


@pytest.mark.parametrize(
    ("stride", "pad", "dilation"), [(1, 1, 1), (2, 1, 1), (1, 3, 2), (3, 0, 1)]
)
def test_products_with_padding_do_not_count(stride: int, pad: int, dilation: int) -> None:
    size, kernel = 7, 3
    outputs = (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
    ones = torch.ones(1, 1, size), torch.ones(1, 1, kernel)
    met = functional.conv1d(*ones, stride=stride, padding=pad, dilation=dilation)
    assert met.shape[2] == outputs
    found = products_along(size, outputs, kernel, stride=stride, pad=pad, dilation=dilation)
    assert found == met.sum()


def _layer(precision: str, weights: int, activations: int) -> Layer:
    return Layer(name="x", macs=1, weights=weights, activations=activations, precision=precision)


def test_bytes_follow_the_precision() -> None:
    assert _layer("int8", 100, 20).bytes == 120
    assert _layer("bf16", 100, 20).bytes == 240
    assert _layer("fp32", 100, 20).bytes == 480


def test_the_working_set_is_all_weights_and_the_largest_rest() -> None:
    layers = [_layer("fp32", 10, 5), _layer("int8", 10, 100), _layer("fp32", 0, 7)]
    assert working_set_bytes(layers) == 40 + 10 + 100


def test_quantised_layers_are_found(tmp_path: Path) -> None:
    require("openvino")
    import numpy as np

    from benchmarks.roofline import ceilings, layers

    model, macs = ceilings._convolutions(16, 4, int8=True)
    found = [layers._layer(op, "int8") for op in model.get_ordered_ops()]
    known = [layer for layer in found if layer is not None]
    assert [layer.precision for layer in known] == ["int8"] * 4
    met = 3 * 4 - 2  # along a side of 4 places
    assert sum(layer.macs for layer in known) == macs == 4 * 16 * 16 * met**2
    floats, _ = ceilings._products(8, int8=False)
    known = [layers._layer(op, "int8") for op in floats.get_ordered_ops()]
    assert {layer.precision for layer in known if layer} == {"fp32"}
    assert np.prod(floats.inputs[0].get_shape()) == 64
