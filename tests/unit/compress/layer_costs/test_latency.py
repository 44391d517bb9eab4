"""A network's latency from the costs of its layers."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from torch import Tensor, nn

import compress.layer_costs.latency
from benchmarks.noise import Noise
from benchmarks.scenarios import Comparison
from compress.layer_costs.latency import LatencyModel, layers_of
from compress.layer_costs.table import CostTable, LayerShape, PointGrid
from compress.layer_costs.timing import layer_graph
from compress.slim.groups import find_groups
from compress.slim.surgery import shrunk_plan
from tests.slimming import SCHEMA, SPEC, tiny_config, tiny_network, write_checkpoint
from tests.unit.train.backbones.tiny import tiny_backbone_network
from train.backbones import BACKBONES
from train.cost import CostModel
from train.heads import FusedHeads
from train.network import Network, NetworkConfig, build, channel_plan


def flat_table(shapes: set[LayerShape], ms: float) -> CostTable:
    """Every layer costs ``ms`` for each output channel."""
    grid = PointGrid(inputs=(1,), outputs=(0, 1000), ms=((0.0, 1000 * ms),))
    tied = PointGrid(inputs=(0, 1000), outputs=(), ms=((0.0,), (1000 * ms,)))
    layers = {shape: tied if shape.tied else grid for shape in shapes}
    return CostTable(engine="onnxruntime", environment={}, layers=layers)


@pytest.mark.parametrize("name", BACKBONES)
def test_layers_have_the_weights_and_values_of_the_network(name: str) -> None:
    network = tiny_backbone_network(name)
    layers, plan = layers_of(network, SPEC), channel_plan(network)
    macs = sum(layer.weights(plan) * layer.positions for layer in layers)
    assert macs == CostModel.of(network, SPEC).macs(plan)
    assert layers[-1].name == "heads.linear"
    assert layers[-1].channels(plan)[1] == 3 + 2
    tied = {layer.name for layer in layers if layer.shape.tied}
    # Whole groups leave where there are more of them than inputs in each.
    assert tied == {n for n, c in plan.items() if 1 < c.groups >= c.inputs // c.groups}


class Same(nn.Module):
    """Convolutions that are told how to pad by a word, on a map of one row."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, (16, 2), "valid", dilation=(2, 1))
        self.odd = nn.Conv2d(8, 8, 3, padding="same", dilation=(1, 2))
        self.even = nn.Conv2d(8, 8, (2, 4), padding="same")

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.even(self.odd(self.down(image)))
        return features


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_paddings_that_are_words_are_those_of_the_network() -> None:
    network = build(SCHEMA, SPEC, NetworkConfig(backbone=f"{__name__}:Same", pool="global"))
    layers = layers_of(network, SPEC)[:-1]
    paddings = [layer.shape.padding for layer in layers]
    assert paddings == [(0, 0), (1, 2), (0, 1, 1, 2)]
    for layer in layers:
        inputs, outputs = layer.channels(channel_plan(network))
        model = onnx.load_from_string(layer_graph(layer.shape, inputs, outputs))
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph.value_info
        (found,) = (value for value in inferred if value.name == "layer")
        sizes = [size.dim_value for size in found.type.tensor_type.shape.dim]
        assert math.prod(sizes[2:]) == layer.positions


def test_heads_that_look_elsewhere_are_one_layer_over_as_many_rows() -> None:
    network = tiny_network("attention")
    *_, score, heads = layers_of(network, SPEC)
    assert score.name == "heads.pool.score"
    assert heads.writes == ("heads.linear.colour", "heads.linear.side")
    assert (heads.shape.kind, heads.shape.height, heads.positions) == ("linear", 2, 2)
    plan = channel_plan(network)
    answers = FusedHeads(network.heads).fused
    assert heads.channels(plan) == (answers.in_features, answers.out_features)


def test_without_a_fit_costs_are_added_up() -> None:
    network = tiny_network()
    layers, plan = layers_of(network, SPEC), channel_plan(network)
    model = LatencyModel(layers, flat_table({layer.shape for layer in layers}, 0.001))
    outputs = sum(plan[name].outputs for layer in layers for name in layer.writes)
    assert model.predict(plan) == pytest.approx(outputs * 0.001)
    groups = find_groups(network, SPEC)
    kept = {group.name: group.width - 8 for group in groups}
    smaller = sum(
        shrunk_plan(plan, groups, kept)[name].outputs for layer in layers for name in layer.writes
    )
    assert model.predict(shrunk_plan(plan, groups, kept)) == pytest.approx(smaller * 0.001)


def test_the_fit_finds_what_made_the_times(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times that are made of known parts: 0.2 ms fixed, twice the layers, 3 ms for a million
    values."""
    network = tiny_network()
    source = write_checkpoint(tmp_path / "base", network, tiny_config())  # type: ignore[operator]
    layers = layers_of(network, SPEC)
    model = LatencyModel(layers, flat_table({layer.shape for layer in layers}, 0.001))

    def fake(engine: str, networks: Mapping[str, Network], *_: object, **__: object) -> Comparison:
        ms = {}
        for name, each in networks.items():
            plan = channel_plan(each)
            values = sum(layer.positions * layer.channels(plan)[1] for layer in layers) / 1e6
            ms[name] = np.full(5, 0.2 + 2 * model.predict(plan) + 3 * values)
        return Comparison(ms, Noise(0.0))

    monkeypatch.setattr(compress.layer_costs.latency, "time_networks", fake)
    fitted = model.fitted(source, find_groups(network, SPEC))
    fit = fitted.table.fit
    assert fit is not None
    found = (fit.fixed_ms, fit.factor, fit.ms_per_weight, fit.ms_per_value)
    assert found == pytest.approx((0.2, 2.0, 0.0, 3.0), abs=1e-6)
    assert fit.error < 1e-6
    plan = channel_plan(network)
    assert fitted.predict(plan) == pytest.approx(fit.measured_ms)
    assert sum(fitted.by_layer(plan).values()) == pytest.approx(fit.measured_ms - 0.2)


def test_no_part_of_a_fit_is_negative() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        terms = np.column_stack([np.ones(6), random.random((6, 3))])
        weights, error = compress.layer_costs.latency._least_squares(terms, random.random(6) + 0.1)
        assert min(weights) >= 0
        assert np.isfinite(error)
