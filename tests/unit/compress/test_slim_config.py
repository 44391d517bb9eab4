"""What the phases of slimming hand on to the training loop."""

from __future__ import annotations

from pathlib import Path

from compress.slim_config import SlimConfig
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
