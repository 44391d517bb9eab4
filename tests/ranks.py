"""What one process of several does in ``tests.integration.test_parallel``; started by torchrun.

``python -m tests.ranks train DATA FOLDER`` trains, is interrupted, and goes on;
``python -m tests.ranks killed ARGUMENTS...`` is ``train.fit`` whose rank 1 dies in its third step.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

import train.fit
import train.loop
from tests.slimming import SCHEMA, SPEC, tiny_config
from tests.training import quick_loop
from train.data import load_crops
from train.loop import run_training
from train.losses import LossConfig
from train.mixing import MixingConfig
from train.network import Network, build
from train.optim import OptimConfig
from train.parallel import Ranks, joined_ranks
from train.synced_norm import synced_norms

CONFIG = quick_loop(
    8,
    precision="fp32",
    ema=0.5,
    patience=9,
    loss=LossConfig(choice="ghm", smoothing=0.05),
    mixing=MixingConfig(mixup=0.4, cutmix=1.0),
    optim=OptimConfig(optimiser="sgd", lr=0.02, warmup=2, conv_decay=0.01),
)
"""Everything that looks at a whole batch or keeps a state."""


def train_lamps(data: Path, folder: Path, after_step: Callable[..., None] | None = None) -> Network:
    """Train a fresh network of seed 0 as ``CONFIG`` says."""
    torch.manual_seed(0)
    network = build(SCHEMA, SPEC, tiny_config(width=8))
    crops = load_crops([data / "train"], SCHEMA, SPEC)
    validation = load_crops([data / "val"], SCHEMA, SPEC)
    run_training(
        network, SCHEMA, crops, validation, CONFIG, folder,
        identity={}, after_step=after_step, keep="last",
    )  # fmt: skip
    return network


def interrupted_after(step: int, *, on: bool) -> Callable[..., None]:
    steps = 0

    def after_step(*_: object) -> None:
        nonlocal steps
        steps += 1
        if on and steps == step:
            os.kill(os.getpid(), signal.SIGINT)

    return after_step


def check_norm(ranks: Ranks) -> None:
    """Outputs, gradients and statistics of a rank's rows are those of the whole batch."""
    torch.manual_seed(1)
    # Far from zero, where squares alone would lose the variance.
    whole = torch.randn(6, 3, 4, 5) * torch.tensor([0.1, 1, 10]).view(-1, 1, 1) + 30
    factor = torch.randn_like(whole)
    plain, synced = nn.BatchNorm2d(3), nn.Sequential(nn.BatchNorm2d(3))
    for layer in (plain, synced[0]):
        nn.init.uniform_(layer.weight, 0.5, 2, generator=torch.Generator().manual_seed(2))
    rows = slice(*((0, 2) if ranks.main else (2, 6)))  # not even the same number
    names = set(synced.state_dict())
    for _ in range(3):
        expected = whole.clone().requires_grad_()
        found = whole[rows].clone().requires_grad_()
        wanted = plain(expected)
        (wanted * factor).sum().backward()
        with synced_norms(synced, ranks):
            output = synced(found)
            (output * factor[rows]).sum().backward()
            assert set(synced.state_dict()) == names
        assert type(synced[0]) is nn.BatchNorm2d
        ranks.add_gradients(synced)
        torch.testing.assert_close(output, wanted[rows], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found.grad, expected.grad[rows], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(synced[0].weight.grad, plain.weight.grad, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(synced[0].bias.grad, plain.bias.grad, rtol=1e-4, atol=1e-4)
        plain.zero_grad()
        synced.zero_grad()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(synced.state_dict()[f"0.{name}"], value)


def train_all(data: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    with joined_ranks(60) as ranks:
        check_norm(ranks)

        def keep(name: str, network: Network) -> None:
            weights = {key: value.contiguous() for key, value in network.state_dict().items()}
            save_file(weights, folder / f"{name}-{ranks.rank}.safetensors")

        keep("whole", train_lamps(data, folder / "whole"))
        for run in ("resumed", "left"):
            # The signal comes to one process only.
            stop = interrupted_after(5, on=not ranks.main)
            with suppress(KeyboardInterrupt):
                train_lamps(data, folder / run, stop)
        keep("resumed", train_lamps(data, folder / "resumed"))


def killed_fit(arguments: list[str]) -> int:
    original, calls = train.loop.learning_rate, 0

    def killing(step: int, steps: int, config: OptimConfig) -> float:
        nonlocal calls
        calls += 1
        if calls == 3 and os.environ["RANK"] == "1":
            os.write(2, f"killed at {time.time()}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)
        return original(step, steps, config)

    train.loop.learning_rate = killing
    return train.fit.main(arguments)


if __name__ == "__main__":
    if sys.argv[1] == "killed":
        raise SystemExit(killed_fit(sys.argv[2:]))
    train_all(Path(sys.argv[2]), Path(sys.argv[3]))
