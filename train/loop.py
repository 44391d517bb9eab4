"""The training loop of every stage that trains: fit, sparsity training, fine-tuning.

A run lives in a folder of its own (``OUTPUT.run``) until its result is written. After an
interruption the same command goes on from the last saved step and ends with the same weights as an
uninterrupted run: batches, changes to them and learning rates are functions of the seed and the
step, and weights, their average, moments and histograms are restored bit by bit.
"""

from __future__ import annotations

import hashlib
import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from torch import nn

from benchmarks.command import say
from runtime.schema import Schema

from .averaging import WeightAverage
from .data import Batch, CropSet, first_epoch, training_batches
from .guidance import Guidance, trained_modules
from .loop_config import LoopConfig
from .losses import MultiHeadLoss
from .memory import kept_memory
from .network import Network
from .optim import build_optimiser, learning_rate
from .parallel import Ranks, current_ranks
from .progress import progress
from .run_state import BEST_FILE, STATE_FILE, RunState, load_best, restore_run, save_best, save_run
from .scoring import Evaluation, evaluate_network
from .step import TrainingStep, training_device, uses_bf16
from .synced_norm import synced_norms

__all__ = ["LoopConfig", "TrainingResult", "run_training"]

_SAVE_EVERY_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a finished training leaves; the network holds the best weights."""

    history: Sequence[Mapping[str, Any]]
    """One row per validation: step, seconds, lr, loss, validation_loss, exact and accuracy per
    head. Of several processes, only rank 0 has all of them."""
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
    guidance: Guidance | None = None,
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
        guidance: Minimised beside the heads' own losses, for distillation; part of the identity.
        after_step: Called with the network and the learning rate after every optimiser step; it
            has to do the same in every process.
        observe: Called with the validated network, the average of weights where there is one;
            returns JSON values to add to every row of the history.
        title: Name of the progress bar.
        keep: ``best`` validation or the ``last`` step.

    Raises:
        ConfigError: ``folder`` holds a run of other settings, or the loss is not finite.
        CheckpointError: its state cannot be read.
        HeadlightError: another process of the same training ended.
        KeyboardInterrupt: after the state was saved.
    """
    ranks, device = current_ranks(), training_device()
    epoch = None
    if config.loss.uses_frequencies():
        epoch = first_epoch(crops, config.sampling, seed=config.seed)
    shares = guidance.own_shares if guidance else {}
    loss = MultiHeadLoss(schema, config.loss, epoch, ranks.add, shares).to(device)
    trained = trained_modules(network, guidance).to(device)
    ranks.share_weights(trained)
    optimiser = build_optimiser(trained, config.optim)
    if guidance is not None:
        identity = {**identity, "guidance": guidance.identity}
    run = _Run(
        step=TrainingStep(network, optimiser, loss, config, ranks, guidance),
        average=WeightAverage(network, config.ema) if config.ema else None,
        validation=(validation, schema),
        folder=folder,
        fingerprint=_fingerprint(config, crops, validation, identity),
        after_step=after_step,
        observe=observe,
        keep=keep,
    )
    with _run_folder(folder, ranks), _deferred_interrupt() as interrupted:
        state = run.restore()
        batches = training_batches(
            crops,
            config.sampling,
            batch=config.batch,
            seed=config.seed,
            start=state.step,
            rank=ranks.rank,
            ranks=ranks.count,
        )
        bars = progress(title, config.steps, state.step)
        with closing(batches), bars as bar, synced_norms(network, ranks), kept_memory():
            _train(run, state, batches, bar, interrupted)
        ranks.wait()  # for rank 0 to have written
        load_best(folder, network)
    network.cpu()
    return TrainingResult(
        state.history, state.best_step, evaluate_network(network, validation, schema)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What happens in every step and validation, and what of it is written."""

    step: TrainingStep
    average: WeightAverage | None
    validation: tuple[CropSet, Schema]
    folder: Path
    fingerprint: str
    after_step: Callable[[Network, float], None] | None
    observe: Callable[[Network], Mapping[str, Any]] | None
    keep: str

    def restore(self) -> RunState:
        """Return where the run is, the same for all ranks."""
        state = restore_run(self.folder, self._modules(), self.step.optimiser, self.fingerprint)
        if state.step:
            say(f"{self.folder}: going on after step {state.step}")
        bf16 = uses_bf16(self.step.config.precision)
        self.step.ranks.require_agreement(f"{self.fingerprint} {state.step} {bf16}", self.folder)
        return state

    def save(self, state: RunState) -> None:
        """Write the state; rank 0 alone."""
        if self.step.ranks.main:
            save_run(self.folder, self._modules(), self.step.optimiser, state, self.fingerprint)

    def _modules(self) -> dict[str, nn.Module]:
        averages = {"average": self.average.network} if self.average else {}
        guidance = {"guidance": self.step.guidance} if self.step.guidance else {}
        return {"network": self.step.network, "loss": self.step.loss, **averages, **guidance}

    def advance(self, state: RunState, batch: Batch, rate: float) -> float:
        """Do one step and return its loss."""
        began = time.monotonic()
        loss = self.step(batch, state.step, rate)
        if self.after_step is not None:
            self.after_step(self.step.network, rate)
        if self.average is not None:
            self.average.update(self.step.network, state.step + 1)
        state.add_step(loss, time.monotonic() - began)
        return loss

    def exhausted(self, state: RunState) -> bool:
        """Whether the last validations were all no better than an earlier one."""
        return 0 < self.step.config.patience <= state.validations_since_best()

    def validate(self, state: RunState, rate: float) -> None:
        """Add a row to the history and keep the weights if they are the best; rank 0 alone."""
        if not self.step.ranks.main:
            return
        network = self.average.network if self.average else self.step.network
        evaluation = evaluate_network(network, *self.validation)
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
        if self.keep == "last" or reached > state.best:
            state.best, state.best_step = reached, state.step
            save_best(self.folder, network)
        state.history[-1].update(self.observe(network) if self.observe else {})


def _train(
    run: _Run,
    state: RunState,
    batches: Iterator[Batch],
    bar: Callable[[int, str], None],
    interrupted: Callable[[], bool],
) -> None:
    config, ranks = run.step.config, run.step.ranks
    finished, saved = run.exhausted(state), time.monotonic()
    while state.step < config.steps and not finished:
        rate = learning_rate(state.step, config.steps, config.optim)
        loss = run.advance(state, next(batches), rate)
        bar(state.step, f"loss {loss:.3f}")
        finished = state.step == config.steps
        if finished or state.step % config.validate_every == 0:
            run.validate(state, rate)
            finished = finished or ranks.total(run.exhausted(state)) > 0
        # A signal may come to one process first: all have to stop after the same step.
        stopping = ranks.total(interrupted()) > 0
        if stopping or finished or time.monotonic() - saved > _SAVE_EVERY_S:
            run.save(state)
            saved = time.monotonic()
        if stopping and not finished:
            raise KeyboardInterrupt


def _fingerprint(
    config: LoopConfig, crops: CropSet, validation: CropSet, identity: Mapping[str, Any]
) -> str:
    text = (
        f"{config!r}\n{crops.digest}\n{validation.digest}\n{json.dumps(identity, sort_keys=True)}"
    )
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def _run_folder(folder: Path, ranks: Ranks) -> Iterator[None]:
    """Make the run's folder; after a failure it stays only where it holds a state to go on from."""
    if ranks.main:
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if ranks.main and not (folder / STATE_FILE).exists():
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
