"""The training loop of every stage that trains: fit, sparsity training, fine-tuning.

A run lives in a folder of its own (``OUTPUT.run``) until its result is written. After an
interruption the same command goes on from the last saved step and ends with the same weights as an
uninterrupted run: batches and learning rates are functions of the step, and weights, optimiser
moments and BatchNorm statistics are restored bit by bit.
"""

from __future__ import annotations

import hashlib
import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

import torch
from torch import Tensor

from benchmarks.command import say
from runtime.errors import ConfigError
from runtime.schema import Schema

from .augment import AugmentConfig
from .data import Batch, CropSet, training_batches
from .losses import head_losses, total_loss
from .network import Network
from .optim import OptimConfig, build_optimiser, learning_rate
from .progress import progress
from .run_state import BEST_FILE, STATE_FILE, RunState, load_best, restore_run, save_best, save_run
from .scoring import Evaluation, evaluate_network

__all__ = ["LoopConfig", "TrainingResult", "run_training"]

_SAVE_EVERY_S: Final = 120.0

LossFunction = Callable[[Batch, Mapping[str, Tensor]], Tensor]
"""(batch, logits) to the scalar to minimise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """Length, rhythm and arithmetic of a training.

    Raises:
        ConfigError: a count below 1 or an unknown precision.
    """

    steps: int = 10_000
    """Optimiser steps."""
    batch: int = 64
    """Crops per step."""
    validate_every: int = 500
    """Steps between two validations; the last step always validates."""
    label_smoothing: float = 0.0
    """Share of the target spread over all labels, in [0, 1)."""
    seed: int = 0
    """Of weights, order and augmentation."""
    precision: str = "auto"
    """``fp32``, ``bf16``, or ``auto``: bf16 where the processor multiplies it natively."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.validate_every) < 1:
            raise ConfigError("steps, batch and validate_every must be >= 1")
        if self.precision not in ("auto", "fp32", "bf16") or not 0 <= self.label_smoothing < 1:
            raise ConfigError(
                "precision must be auto, fp32 or bf16 and label_smoothing in [0, 1), got "
                f"{self.precision!r} and {self.label_smoothing}"
            )


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a finished training leaves; the network holds the best weights."""

    history: Sequence[Mapping[str, Any]]
    """One row per validation: step, lr, loss, exact and accuracy per head."""
    best_step: int
    evaluation: Evaluation
    """Of the best weights, on the validation crops."""


def run_training(
    network: Network,
    schema: Schema,
    crops: CropSet,
    validation: CropSet,
    config: LoopConfig,
    folder: Path,
    *,
    identity: Mapping[str, Any],
    loss_function: LossFunction | None = None,
    after_step: Callable[[Network, float], None] | None = None,
    observe: Callable[[Network], Mapping[str, Any]] | None = None,
    title: str = "training",
    keep: str = "best",
) -> TrainingResult:
    """Train ``network`` in place; interrupted, go on where it was.

    Args:
        network: Its weights are those of the first step.
        schema: Heads that it answers.
        crops: What to train on.
        validation: What to choose the best weights on.
        config: Length, rhythm and arithmetic.
        folder: Where the run's state lives; made if absent.
        identity: What, beside the config and data, makes this run this run; a state saved under
            another identity is refused.
        loss_function: Replaces the heads' own loss, for distillation.
        after_step: Called with the network and the learning rate after every optimiser step.
        observe: Returns JSON values to add to every row of the history.
        title: Name of the progress bar.
        keep: ``best`` validation or the ``last`` step.

    Raises:
        ConfigError: ``folder`` holds a run of other settings.
        CheckpointError: its state cannot be read.
        KeyboardInterrupt: after the state was saved.
    """
    fingerprint = _fingerprint(config, crops, validation, identity)
    network.to(_device())
    optimiser = build_optimiser(network, config.optim)
    minimise = loss_function or _own_loss(schema, config)
    with _run_folder(folder), _deferred_interrupt() as interrupted:
        state = restore_run(folder, network, optimiser, fingerprint)
        if state.step:
            say(f"{folder}: going on after step {state.step}")
        batches = training_batches(
            crops, config.augment, batch=config.batch, seed=config.seed, start=state.step
        )
        saved = time.monotonic()
        with closing(batches), progress(title, config.steps, state.step) as bar:
            while state.step < config.steps:
                rate = learning_rate(state.step, config.steps, config.optim)
                began = time.monotonic()
                loss = _step(network, optimiser, next(batches), rate, minimise, config)
                if after_step is not None:
                    after_step(network, rate)
                state.add_step(loss, time.monotonic() - began)
                bar(state.step, f"loss {loss:.3f}")
                if state.step % config.validate_every == 0 or state.step == config.steps:
                    _validate(network, validation, schema, state, rate, folder, keep)
                    state.history[-1].update(observe(network) if observe else {})
                late = time.monotonic() - saved > _SAVE_EVERY_S
                if late or interrupted() or state.step == config.steps:
                    save_run(folder, network, optimiser, state, fingerprint)
                    saved = time.monotonic()
                if interrupted() and state.step < config.steps:
                    raise KeyboardInterrupt
        load_best(folder, network)
    network.cpu()
    return TrainingResult(
        state.history, state.best_step, evaluate_network(network, validation, schema)
    )


def _own_loss(schema: Schema, config: LoopConfig) -> LossFunction:
    def loss(batch: Batch, logits: Mapping[str, Tensor]) -> Tensor:
        each = head_losses(schema, logits, batch.targets, label_smoothing=config.label_smoothing)
        return total_loss(schema, each)

    return loss


def _step(
    network: Network,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    rate: float,
    minimise: LossFunction,
    config: LoopConfig,
) -> float:
    device = _device()
    batch = Batch(batch.images.to(device), {k: v.to(device) for k, v in batch.targets.items()})
    for group in optimiser.param_groups:
        group["lr"] = rate
    network.train()
    with torch.autocast(device.type, torch.bfloat16, enabled=uses_bf16(config.precision)):
        logits = network(batch.images)
    loss = minimise(batch, logits)
    value = loss.item()
    if not value < float("inf"):  # also true for NaN
        raise ConfigError(f"the loss became {value}; lower --loop.optim.lr or check the labels")
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), config.optim.clip_norm)
    optimiser.step()
    return value


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def uses_bf16(precision: str) -> bool:
    """Whether a training runs in bfloat16: asked for, or ``auto`` where the hardware has it."""
    if precision != "auto":
        return precision == "bf16"
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))


def _validate(
    network: Network,
    validation: CropSet,
    schema: Schema,
    state: RunState,
    rate: float,
    folder: Path,
    keep: str,
) -> None:
    evaluation = evaluate_network(network, validation, schema)
    state.history.append(
        {
            "step": state.step,
            "seconds": round(state.seconds, 1),
            "lr": rate,
            "loss": state.take_loss(),
            "validation_loss": evaluation.loss,
            "exact": evaluation.exact,
            "heads": dict(evaluation.head_accuracy),
        }
    )
    say(
        f"step {state.step}: loss {state.history[-1]['loss']:.3f}, validation exact "
        f"{evaluation.exact:.4f}, loss {evaluation.loss:.3f}, {state.seconds:.0f} s"
    )
    reached = (evaluation.exact, -evaluation.loss)
    if keep == "last" or reached > state.best:
        state.best, state.best_step = reached, state.step
        save_best(folder, network)


def _fingerprint(
    config: LoopConfig, crops: CropSet, validation: CropSet, identity: Mapping[str, Any]
) -> str:
    text = (
        f"{config!r}\n{crops.digest}\n{validation.digest}\n{json.dumps(identity, sort_keys=True)}"
    )
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def _run_folder(folder: Path) -> Iterator[None]:
    """Make the run's folder; after a failure it stays only where it holds a state to go on from."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if not (folder / STATE_FILE).exists():
            (folder / BEST_FILE).unlink(missing_ok=True)
            with suppress(OSError):  # not ours alone
                folder.rmdir()
        raise


@contextmanager
def _deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C or SIGTERM wait until the step is done; a second one is immediate."""
    caught: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
