"""Groups of parameters, optimisers and learning-rate schedules."""

from __future__ import annotations

import math
from typing import Any

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


def test_scales_of_other_norms_are_not_decayed() -> None:
    layers = [nn.GroupNorm(2, 8), nn.LayerNorm(5), nn.PReLU(8), nn.BatchNorm1d(8)]
    network = nn.Sequential(nn.Conv2d(3, 8, 3), *layers)
    optimiser = build_optimiser(network, OptimConfig(conv_decay=0.3, scale_decay=0.2))
    weights, scales, rest = optimiser.param_groups
    assert [tuple(p.shape) for p in weights["params"]] == [(8, 3, 3, 3)]
    assert not scales["params"]
    assert len(rest["params"]) == 8
    assert rest["weight_decay"] == 0


@pytest.mark.parametrize("name", ["radam", "adamw", "sgd"])
def test_decay_is_decoupled_from_the_gradient(name: Any) -> None:
    layer = nn.Linear(2, 1)
    nn.init.ones_(layer.weight)
    config = OptimConfig(optimiser=name, lr=0.1, final_lr=0.1, conv_decay=0.5)
    optimiser = build_optimiser(layer, config)
    for steps in (1, 2):  # momentum does not take it up
        layer.weight.grad = torch.zeros_like(layer.weight)
        layer.bias.grad = None
        optimiser.step()
        assert layer.weight.tolist() == [[pytest.approx(0.95**steps)] * 2]


def descend(config: OptimConfig, gradients: list[float]) -> list[float]:
    """Where one weight that starts at 1 goes."""
    layer = nn.Linear(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    optimiser = build_optimiser(layer, config)
    places = []
    for gradient in gradients:
        layer.weight.grad = torch.full_like(layer.weight, gradient)
        optimiser.step()
        places.append(layer.weight.item())
    return places


def test_radam_moves_as_torchs_own_once_its_variance_is_tractable() -> None:
    torch.manual_seed(0)
    ours = nn.Linear(3, 2)
    theirs = nn.Linear(3, 2)
    config = OptimConfig(optimiser="radam", lr=0.02, final_lr=0.02, conv_decay=0.1)
    optimiser = build_optimiser(ours, config)
    groups = [
        {"params": [theirs.weight], "weight_decay": 0.1},
        {"params": [theirs.bias], "weight_decay": 0.0},
    ]
    reference = torch.optim.RAdam(groups, lr=0.02, decoupled_weight_decay=True)
    for step in range(40):
        theirs.load_state_dict(ours.state_dict())
        before = ours.weight.clone()
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        optimiser.step()
        reference.step()
        if step < 5:  # only the decay
            torch.testing.assert_close(ours.weight, before * (1 - 0.02 * 0.1))
        else:
            torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-6, atol=1e-7)
            torch.testing.assert_close(ours.bias, theirs.bias, rtol=1e-6, atol=1e-7)
    assert [group["lr"] for group in optimiser.param_groups] == [0.02] * 3
    assert optimiser.param_groups[0]["weight_decay"] == 0.1


def test_sgd_follows_nesterovs_formula() -> None:
    config = OptimConfig(optimiser="sgd", lr=0.1, final_lr=0.1, conv_decay=0.2, momentum=0.9)
    place, velocity, expected = 1.0, 0.0, []
    for gradient in (1.0, -0.5, 0.25):
        velocity = 0.9 * velocity + gradient
        place = place * (1 - 0.1 * 0.2) - 0.1 * (gradient + 0.9 * velocity)
        expected.append(place)
    assert descend(config, [1.0, -0.5, 0.25]) == pytest.approx(expected)
    plain = OptimConfig(optimiser="sgd", lr=0.1, final_lr=0.1, conv_decay=0, momentum=0)
    assert descend(plain, [1.0, 2.0]) == pytest.approx([0.9, 0.7])


def test_adamw_follows_its_formula() -> None:
    config = OptimConfig(optimiser="adamw", lr=0.1, final_lr=0.1, conv_decay=0.2)
    place, first, second, expected = 1.0, 0.0, 0.0, []
    for step, gradient in enumerate((1.0, -0.5, 0.25), start=1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        move = first / (1 - 0.9**step) / (math.sqrt(second / (1 - 0.999**step)) + 1e-8)
        place = place * (1 - 0.1 * 0.2) - 0.1 * move
        expected.append(place)
    assert descend(config, [1.0, -0.5, 0.25]) == pytest.approx(expected, rel=1e-5)


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


def test_steps_down_and_a_constant_rate() -> None:
    config = OptimConfig(
        lr=0.1, warmup=10, schedule="step", milestones=(0.5, 0.75), factor=0.2, final_lr=1e-6
    )
    rates = [learning_rate(step, 100, config) for step in (0, 9, 10, 49, 50, 74, 75, 99)]
    assert rates == pytest.approx([0.01, 0.1, 0.1, 0.1, 0.02, 0.02, 0.004, 0.004])
    constant = OptimConfig(lr=0.1, warmup=10, schedule="constant")
    assert [learning_rate(s, 100, constant) for s in (4, 10, 99)] == pytest.approx([0.05, 0.1, 0.1])


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


@pytest.mark.parametrize(
    "wrong",
    [
        {"milestones": (0.5, 0.5)},
        {"milestones": (0.0, 0.5)},
        {"milestones": (0.5, 1.0)},
        {"milestones": (float("nan"),)},
        {"factor": 1.0},
        {"factor": 0.0},
        {"momentum": 1.0},
        {"momentum": float("nan")},
    ],
)
def test_schedules_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="need milestones that rise"):
        OptimConfig(**wrong)


@pytest.mark.parametrize("wrong", [{"optimiser": "adam"}, {"schedule": "linear"}])
def test_unknown_names_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"must be one of \['radam', 'adamw', 'sgd'\]"):
        OptimConfig(**wrong)
