"""Train a network: ``python -m train.fit cn-plate --data A B --validation C --output DIR``.

In several processes: ``torchrun --nproc-per-node 2 -m train.fit ...`` (``train.parallel``).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import tyro

from benchmarks.command import run_command, say
from benchmarks.figures import check_matplotlib
from benchmarks.operating_point import fit_operating_point
from runtime.errors import ConfigError
from runtime.preprocess import InputSpec
from runtime.schema import Schema
from runtime.staging import check_free

from .checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from .config import FitConfig
from .curves import draw_curves
from .data import CropSet, load_sets
from .data_checks import data_notes
from .guidance import Guidance
from .labels import resolve_schema
from .lineage import lineage_entry, plain, step_name
from .loop import TrainingResult, run_training
from .network import Network, build
from .parallel import current_ranks, joined_ranks
from .recipes import RECIPES
from .threads import use_threads

__all__ = ["Task", "fit", "main", "open_task", "prepare", "train_network", "write_result"]


@dataclass(frozen=True, slots=True)
class Task:
    """What is trained, on what."""

    config: FitConfig
    schema: Schema
    spec: InputSpec
    start: Checkpoint | None
    crops: CropSet
    validation: CropSet

    @property
    def run(self) -> Path:
        """Where the run's state lives until its result is written."""
        return self.config.output.with_name(self.config.output.name + ".run")

    def build(self) -> Network:
        """Return the network before its first step; fresh weights depend on the seed alone."""
        torch.manual_seed(self.config.loop.seed)
        if self.start is not None:
            return self.start.build()
        return build(self.schema, self.spec, self.config.network)


def fit(config: FitConfig) -> Checkpoint:
    """Train as ``config`` says and write a checkpoint; of several processes, all call this.

    Raises:
        HeadlightError: bad options, data, or an unfinished run of other settings.
        KeyboardInterrupt: interrupted; the same call goes on.
    """
    prepare(config)
    task = open_task(config, resolve_schema(config.schema, (*config.data, *config.validation)))
    network = task.build()
    return write_result(task, network, train_network(task, network, "fit"), "fit")


def prepare(config: FitConfig) -> None:
    """Fail on what would else fail only after the training, and set torch's threads.

    Raises:
        ConfigError: the output is taken.
        MissingExtraError: matplotlib is not installed.
    """
    check_free(config.output, overwrite=config.overwrite)
    check_matplotlib()
    use_threads(config.threads)


def open_task(config: FitConfig, schema: Schema, *, unlabelled: Sequence[Path] = ()) -> Task:
    """Read the data and the checkpoint to start from.

    Args:
        config: Names both.
        schema: What the network is to answer.
        unlabelled: Pictures without labels to train on as well.

    Raises:
        HeadlightError: data or checkpoint cannot be used, or do not fit the schema.
    """
    spec = InputSpec(height=config.imgsz[0], width=config.imgsz[1], resize=config.resize)
    start = _start(config, schema, spec)
    if start is not None and start.network != config.network:
        say(
            f"note: the network is that of {config.init}: {start.network.backbone}, pool "
            f"{start.network.pool}; --network and its sizes are for fresh ones"
        )
        config = replace(config, network=start.network)
    crops, validation = load_sets(
        config.data,
        config.validation,
        schema,
        spec,
        unlabelled=unlabelled,
        repeats=config.repeats,
        skip_bad=config.skip_bad,
        cache_mb=config.cache_mb,
    )
    say(f"{len(crops)} training crops, {len(validation)} validation crops, schema {schema.name}")
    for note in data_notes(schema, crops, validation, config.validation):
        say(note)
    return Task(config, schema, spec, start, crops, validation)


def train_network(
    task: Task, network: Network, command: str, guidance: Guidance | None = None
) -> TrainingResult:
    """Train ``network`` in place, on from where an interrupted run was.

    Raises:
        HeadlightError: an unfinished run of other settings, or the training fails.
        KeyboardInterrupt: interrupted.
    """
    config, start = task.config, task.start
    return run_training(
        network,
        task.schema,
        task.crops,
        task.validation,
        config.loop,
        task.run,
        identity={
            "network": plain(config.network),
            "schema": task.schema.to_object(),
            "input": task.spec.to_object(),
            "init": start.digest if start else None,
        },
        guidance=guidance,
        title=f"{command} {config.output.name}",
    )


def write_result(
    task: Task,
    network: Network,
    result: TrainingResult,
    command: str,
    *,
    inputs: Mapping[str, str] = MappingProxyType({}),
    metrics: Mapping[str, Any] = MappingProxyType({}),
) -> Checkpoint:
    """Write the checkpoint of a finished training and remove its run.

    Args:
        task: What was trained.
        network: With the best weights.
        result: What ``train_network`` returned.
        command: Name of the entry in the lineage.
        inputs: Digests of what was read beside data and start, for the lineage.
        metrics: What was measured beside the validation.

    Raises:
        ConfigError: the output came to exist meanwhile.
    """
    ranks, checkpoint = current_ranks(), None
    if ranks.main:
        checkpoint = _write(task, network, result, command, inputs, metrics)
        shutil.rmtree(task.run)
    ranks.wait()
    return checkpoint or load_checkpoint(task.config.output)


def _write(
    task: Task,
    network: Network,
    result: TrainingResult,
    command: str,
    inputs: Mapping[str, str],
    metrics: Mapping[str, Any],
) -> Checkpoint:
    config, start = task.config, task.start
    before = start.lineage if start else {}
    read = {"init": start.digest} if start else {}
    read |= {"data": task.crops.digest, "validation": task.validation.digest, **inputs}
    return save_checkpoint(
        config.output,
        network,
        schema=task.schema,
        spec=task.spec,
        config=config.network,
        slimmed=start is not None and start.channels is not None,
        operating=fit_operating_point(
            task.schema,
            result.evaluation.logits,
            task.validation.targets,
            fitted_on=task.validation.origin,
        ),
        metrics={
            "exact": result.evaluation.exact,
            "heads": dict(result.evaluation.head_accuracy),
            "best_step": result.best_step,
            "history": list(result.history),
            **metrics,
        },
        lineage={**before, step_name(before, command): lineage_entry(config, read)},
        extra_files={"curves.png": draw_curves(result.history)},
        overwrite=config.overwrite,
    )


def _start(config: FitConfig, schema: Schema, spec: InputSpec) -> Checkpoint | None:
    if config.init is None:
        return None
    checkpoint = load_checkpoint(config.init)
    checkpoint.require_schema(schema)
    made = checkpoint.input
    # Columns have weights of their own for every column, attention for every place.
    fits = {
        "columns": made.width == spec.width,
        "attention": (made.height, made.width) == (spec.height, spec.width),
    }
    if not fits.get(checkpoint.network.pool, True):
        raise ConfigError(
            f"{config.init} was trained for {made.height}x{made.width} px, asked for "
            f"{spec.height}x{spec.width}; pass --imgsz {made.height} {made.width}"
        )
    return checkpoint


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(argv, _command_type(), _work, prog="python -m train.fit")


def _command_type() -> Any:
    return tyro.extras.subcommand_type_from_defaults(
        {name: recipe for name, (_, recipe) in RECIPES.items()},
        {name: description for name, (description, _) in RECIPES.items()},
    )


def _work(config: FitConfig) -> int:
    with joined_ranks(config.rank_timeout_s):
        checkpoint = fit(config)
        folder = checkpoint.folder
        print(f"validation exact {checkpoint.metrics['exact']:.4f}")
        print(f"wrote {folder}; next: python -m compress.slim {folder} --help")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
