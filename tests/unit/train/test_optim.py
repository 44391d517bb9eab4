"""Groups of parameters and the learning-rate schedule."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from runtime.errors import ConfigError
from tests.slimming import tiny_network
from train.optim import OptimConfig, build_optimiser, learning_rate


def test_every_parameter_is_in_exactly_one_group() -> None:
    network = tiny_network()
    optimiser = build_optimiser(network, OptimConfig(conv_decay=0.3, scale_decay=0.2))
    places = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    assert len({id(p) for p in places}) == len(places)
    assert {id(p) for p in places} == {id(p) for p in network.parameters()}


def test_decay_goes_by_the_kind_of_parameter() -> None:
    network = tiny_network()
    optimiser = build_optimiser(network, OptimConfig(conv_decay=0.3, scale_decay=0.2))
    decay = {
        id(parameter): group["weight_decay"]
        for group in optimiser.param_groups
        for parameter in group["params"]
    }
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert decay[id(layer.weight)] == 0.2
            assert decay[id(layer.bias)] == 0.0
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            assert decay[id(layer.weight)] == 0.3
            assert layer.bias is None or decay[id(layer.bias)] == 0.0


def test_decay_is_decoupled_from_the_gradient() -> None:
    layer = nn.Linear(2, 1)
    nn.init.ones_(layer.weight)
    optimiser = build_optimiser(layer, OptimConfig(lr=0.1, final_lr=0.1, conv_decay=0.5))
    layer.weight.grad = torch.zeros_like(layer.weight)
    optimiser.step()
    assert layer.weight.tolist() == [[pytest.approx(0.95), pytest.approx(0.95)]]


CONFIG = OptimConfig(lr=0.1, final_lr=0.001, warmup=10)


def test_end_points_of_the_schedule() -> None:
    assert learning_rate(0, 100, CONFIG) == pytest.approx(0.01)
    assert learning_rate(9, 100, CONFIG) == pytest.approx(0.1)
    assert learning_rate(10, 100, CONFIG) == pytest.approx(0.1)
    assert learning_rate(99, 100, CONFIG) == pytest.approx(0.001)
    # Half-way between 10 and 99: the mean of both ends.
    middle = (learning_rate(54, 100, CONFIG) + learning_rate(55, 100, CONFIG)) / 2
    assert middle == pytest.approx(0.0505)
    assert learning_rate(0, 1, OptimConfig(lr=0.1, final_lr=0.001, warmup=0)) == pytest.approx(0.1)


@given(steps=st.integers(12, 300), step=st.integers(0, 299), warmup=st.integers(0, 10))
def test_the_rate_rises_then_falls_within_its_bounds(steps: int, step: int, warmup: int) -> None:
    config = OptimConfig(lr=0.1, final_lr=0.001, warmup=warmup)
    now, after = (learning_rate(s, steps, config) for s in (step, step + 1))
    assert 0 < now <= 0.1 * (1 + 1e-12)
    if step + 1 < steps:
        assert after >= now if step + 1 <= warmup else after <= now


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": 0.0},
        {"lr": 1e-5},  # below the final rate
        {"lr": float("nan")},
        {"lr": float("inf")},
        {"final_lr": 0.0},
        {"warmup": -1},
        {"conv_decay": -0.1},
        {"scale_decay": float("nan")},
        {"clip_norm": 0.0},
        {"clip_norm": float("nan")},
    ],
)
def test_settings_that_cannot_train_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="final_lr <= lr < inf"):
        OptimConfig(**wrong)  # type: ignore[arg-type]
