"""What the phases of slimming hand on to the training loop."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.slim.config import SlimConfig
from runtime.errors import ConfigError
from train.losses import LossConfig
from train.sampling import SamplingConfig


def test_both_phases_train_as_asked_for() -> None:
    loss, sampling = LossConfig(choice="ghm", heads={"side": "focal"}), SamplingConfig()
    config = SlimConfig(
        checkpoint=Path("a"), data=(), validation=(), output=Path("b"), batch=8, lr=0.01,
        loss=loss, sampling=sampling,
    )  # fmt: skip
    loop = config.phase(500, final_lr=0.001, seed=3)
    assert (loop.loss, loop.sampling) == (loss, sampling)
    assert (loop.steps, loop.batch, loop.seed) == (500, 8, 3)
    assert (loop.optim.lr, loop.optim.final_lr, loop.optim.warmup) == (0.01, 0.001, 50)


def config(**options: object) -> SlimConfig:
    places = {"checkpoint": Path("a"), "data": (), "validation": (), "output": Path("b")}
    return SlimConfig(**places, **options)


def test_a_goal_of_latency_is_a_share_of_the_checkpoints() -> None:
    goal = config(latency_ms=0.5, engine="onnxruntime").goal(2.0)
    assert (goal.of, goal.share, goal.score) == ("latency", 0.75, "loss")
    assert config(speedup=4.0, costs=Path("c")).goal(2.0).share == pytest.approx(0.75)
    assert config(target_macs=0.3).goal().of == "macs"
    assert (config().goal().of, config().goal().score) == ("parameters", "normalised")
    with pytest.raises(ConfigError, match=r"asks for nothing: the checkpoint takes 0\.400 ms"):
        config(latency_ms=0.5, engine="onnxruntime").goal(0.4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounds": 0}, "--rounds >= 1"),
        ({"rounds": 3, "tune_steps": 2}, "got 3 rounds and 2 steps"),
        ({"target_macs": 0.5, "speedup": 2.0, "engine": "openvino"}, "one of --target-macs"),
        ({"latency_ms": 0.0, "engine": "openvino"}, "--latency-ms must be above 0, got 0"),
        ({"speedup": 1.0, "engine": "openvino"}, "--speedup must be above 1, got 1"),
        ({"speedup": float("nan"), "engine": "openvino"}, "--speedup must be above 1, got nan"),
        ({"speedup": 2.0}, "need --engine"),
        ({"costs": Path("c")}, "--costs is for --latency-ms or --speedup"),
    ],
)
def test_options_that_contradict_themselves(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**options)
