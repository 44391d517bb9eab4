"""Train LPRNet as its paper says: ``python -m examples.peers.train_lprnet --data ...``.

Killed, the same command goes on from the last saved step and ends with the same weights.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.command import require_packages, run_command, say
from runtime.schema import load_schema
from runtime.staging import check_free
from train.data import CropSet, load_sets, training_batches
from train.progress import progress
from train.run_state import RunState, load_best, restore_run, save_best, save_run
from train.sampling import SamplingConfig
from train.step import uses_bf16

from .lprnet import INPUT, Vocabulary
from .lprnet_files import EXTRA_PACKAGES, write_files
from .lprnet_steps import LprnetConfig, LprnetTraining

__all__ = ["main", "train"]

_SAVE_EVERY: Final = 200


def train(config: LprnetConfig) -> Path:
    """Train, keep the weights of the best validation and write them as ONNX.

    Returns:
        ``config.output`` (``lprnet_files``).

    Raises:
        HeadlightError: bad options or data, or an unfinished run of other settings.
    """
    check_free(config.output)
    require_packages("export", *EXTRA_PACKAGES)
    torch.set_num_threads(config.threads)
    schema = load_schema(config.schema)
    vocabulary = Vocabulary.of(schema)
    crops, validation = load_sets(
        config.data,
        config.validation,
        schema,
        INPUT,
        repeats=config.repeats,
        cache_mb=config.cache_mb,
    )
    say(f"{len(crops)} crops, {len(validation)} validation crops, {len(vocabulary)} classes")
    training = LprnetTraining.fresh(config, vocabulary)
    run = config.output.with_name(config.output.name + ".run")
    run.mkdir(parents=True, exist_ok=True)
    state = _advance(training, crops, validation, run)
    load_best(run, training.network)
    write_files(
        training.network,
        schema,
        vocabulary,
        validation,
        config.output,
        record=_record(config, crops, validation, state),
    )
    shutil.rmtree(run)
    return config.output


def _advance(training: LprnetTraining, crops: CropSet, validation: CropSet, run: Path) -> RunState:
    """Do all steps that are left."""
    config, modules = training.config, {"network": training.network}
    fingerprint = _fingerprint(config, crops, validation)
    state = restore_run(run, modules, training.optimiser, fingerprint)
    if state.step:
        say(f"{run}: going on after step {state.step}")
    batches = training_batches(
        crops, SamplingConfig(), batch=config.batch, seed=config.seed, start=state.step
    )
    with closing(batches), progress("lprnet", config.steps, state.step) as bar:
        while state.step < config.steps:
            began = time.monotonic()
            loss = training.step(next(batches), state.step)
            state.add_step(loss, time.monotonic() - began)
            bar(state.step, f"loss {loss:.3f}")
            last = state.step == config.steps
            if last or state.step % config.validate_every == 0:
                _validate(training, validation, state, run)
            if last or state.step % _SAVE_EVERY == 0:
                save_run(run, modules, training.optimiser, state, fingerprint)
    return state


def _validate(training: LprnetTraining, validation: CropSet, state: RunState, run: Path) -> None:
    """Add a row to the history, and keep the weights if they are the best."""
    exact, loss = training.validate(validation)
    row = {"step": state.step, "seconds": round(state.seconds, 1), "loss": state.take_loss()}
    state.history.append({**row, "validation_loss": loss, "exact": exact})
    say(
        f"step {state.step}: loss {row['loss']:.3f}, validation exact {exact:.4f}, "
        f"loss {loss:.3f}, {state.seconds:.0f} s"
    )
    if (exact, -loss) > state.best:
        state.best, state.best_step = (exact, -loss), state.step
        save_best(run, training.network)


def _fingerprint(config: LprnetConfig, crops: CropSet, validation: CropSet) -> str:
    """What makes this run this run: neither where it is kept, nor how fast it is."""
    same = replace(config, output=Path(), threads=1, cache_mb=0, data=(), validation=())
    text = f"{same!r} {uses_bf16(config.precision)} {crops.digest} {validation.digest}"
    return hashlib.sha256(text.encode()).hexdigest()


def _record(
    config: LprnetConfig, crops: CropSet, validation: CropSet, state: RunState
) -> Mapping[str, Any]:
    """Return what is written beside the weights: how they came to be."""
    return {
        "data": {"sha256": crops.digest, "repeats": list(config.repeats)},
        "validation": {"sha256": validation.digest, "exact": state.best[0]},
        "steps": config.steps,
        "batch": config.batch,
        "lr": config.lr,
        "gradient_noise": config.gradient_noise,
        "augment": config.augment,
        "seed": config.seed,
        "bf16": uses_bf16(config.precision),
        "best_step": state.best_step,
        "history": state.history,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    prog = "python -m examples.peers.train_lprnet"
    return run_command(argv, LprnetConfig, _work, prog=prog)


def _work(config: LprnetConfig) -> int:
    folder = train(config)
    print(f"wrote {folder}; next: python -m benchmarks.accuracy {folder / 'lprnet.toml'} --help")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
