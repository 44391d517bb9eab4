"""Teach a student: ``python -m compress.distill STUDENT --teacher CHECKPOINT --data A ...``.

STUDENT is a recipe, for a fresh network of any width or backbone, or a checkpoint folder to train
on, for example a slimmed one. The training is that of ``train.fit`` with the teachers' softened
answers beside the labels (``distillation``); pictures without labels follow the teachers alone.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final

import tyro

from benchmarks.arguments import POSITIONAL
from benchmarks.command import run_command, say
from benchmarks.report import Rows, show_table
from compress.inheritance import training_of
from compress.slim.comparison import Side
from runtime.errors import ConfigError, HeadlightError
from runtime.preprocess import InputSpec
from runtime.schema import Schema
from train.checkpoint import Checkpoint, load_checkpoint
from train.config import FitConfig
from train.fit import Task, open_task, prepare, train_network, write_result
from train.labels import resolve_schema
from train.loop import LoopConfig
from train.network import Network, NetworkConfig
from train.parallel import joined_ranks
from train.recipes import RECIPES
from train.recorded import values_of
from train.scoring import evaluate_network
from train.step import training_device

from .distillation import Distillation, DistillationConfig
from .teachers import load_teachers

__all__ = ["DistillConfig", "checkpoint_options", "distill", "main", "recipe_options"]

PROG: Final = "python -m compress.distill"
OF_TEACHER: Final = "teacher"
"""The schema's name where it is to be the first teacher's."""
_CHECKPOINT: Final = "checkpoint"
_OF_THE_PARSER: Final = ("-h", "--help", "--tyro-")
"""Options that need no student."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillConfig(FitConfig):
    """Train a student with teachers.

    Raises:
        ConfigError: no teacher.
    """

    teacher: tuple[Path, ...] = tyro.MISSING
    """Checkpoint folders; the probabilities of several are averaged."""
    data: tuple[Path, ...] = ()
    """Training lists, tables, trees or tar shards."""
    unlabelled: tuple[Path, ...] = ()
    """Folders of pictures, or lists with a path per line, on which the teachers alone are
    followed."""
    distill: DistillationConfig = field(default_factory=DistillationConfig)
    schema: str = OF_TEACHER
    """Heads of the student: teacher for those of the first teacher, else as in train.fit."""
    init: tyro.conf.Suppress[Path | None] = None
    """Checkpoint that is the student; its schema, input and network count, not those here."""

    def __post_init__(self) -> None:
        FitConfig.__post_init__(self)
        if not self.teacher:
            raise ConfigError("name at least one checkpoint folder with --teacher")


@dataclass(frozen=True, slots=True, kw_only=True)
class _TrainOn(DistillConfig):
    """The options that are left where the student is a checkpoint."""

    init: Annotated[Path, POSITIONAL] = tyro.MISSING
    """Checkpoint folder to train on; it stays as it is."""
    schema: tyro.conf.Suppress[str] = OF_TEACHER
    imgsz: tyro.conf.Suppress[tuple[int, int]] = (48, 144)
    resize: tyro.conf.Suppress[str] = "stretch"
    network: tyro.conf.Suppress[NetworkConfig] = field(default_factory=NetworkConfig)


def distill(config: DistillConfig) -> Checkpoint:
    """Train a student as ``config`` says and write a checkpoint; all processes call this.

    Raises:
        HeadlightError: bad options or data, a teacher that does not suit, or an unfinished run of
            other settings.
        KeyboardInterrupt: interrupted; the same call goes on.
    """
    prepare(config)
    config, schema = _resolved(config)
    spec = InputSpec(height=config.imgsz[0], width=config.imgsz[1], resize=config.resize)
    teachers = load_teachers(config.teacher, schema, spec)
    task = open_task(config, schema, unlabelled=config.unlabelled)
    network = task.build()
    guidance = Distillation(teachers, network, schema, spec, config.distill, config.loop.loss)
    sides = {
        "before": _side(task, network) if task.start else None,
        "teachers": [
            {"folder": str(folder), **_taught(task, guidance, number)}
            for number, folder in enumerate(config.teacher)
        ],
    }
    result = train_network(task, network, "distill", guidance)
    after = Side.of(network, spec, result.evaluation).to_object()
    return write_result(
        task,
        network,
        result,
        "distill",
        inputs=guidance.digests,
        metrics={"distill": {**sides, "after": after}},
    )


def _resolved(config: DistillConfig) -> tuple[DistillConfig, Schema]:
    """Return the config with what the student's checkpoint fixes, and what the student answers."""
    if config.init is not None:
        start = load_checkpoint(config.init)
        size = (start.input.height, start.input.width)
        fixed = replace(config, imgsz=size, resize=start.input.resize, network=start.network)
        return fixed, start.schema
    if config.schema == OF_TEACHER:
        return config, load_checkpoint(config.teacher[0]).schema
    return config, resolve_schema(config.schema, (*config.data, *config.validation))


def _side(task: Task, network: Network) -> dict[str, Any]:
    network.to(training_device())
    evaluation = evaluate_network(network, task.validation, task.schema)
    say(f"student before: validation exact {evaluation.exact:.4f}")
    return Side.of(network, task.spec, evaluation).to_object()


def _taught(task: Task, guidance: Distillation, number: int) -> dict[str, Any]:
    """Return a teacher's numbers, on the crops as the student sees them."""
    teacher = guidance.teachers[number]
    evaluation = evaluate_network(teacher, task.validation, task.schema)
    say(f"teacher {teacher.checkpoint.folder}: validation exact {evaluation.exact:.4f}")
    return Side.of(teacher.network, teacher.checkpoint.input, evaluation).to_object()


def _rows(found: Mapping[str, Any]) -> Rows:
    teachers = {f"teacher {side['folder']}": side for side in found["teachers"]}
    sides = {"student before": found["before"], **teachers, "student": found["after"]}
    return [_row(name, side) for name, side in sides.items() if side is not None]


def _row(name: str, side: Mapping[str, Any]) -> Mapping[str, str]:
    heads = {
        head: f"{accuracy:.4f}" for head, accuracy in side["heads"].items() if accuracy is not None
    }
    return {
        "network": name,
        "parameters": f"{side['parameters']:,}",
        "MACs": f"{side['macs']:,}",
        "exact": f"{side['exact']:.4f}",
        **heads,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    words = list(sys.argv[1:] if argv is None else argv)
    folder, first = None, words[0] if words else ""
    if first.startswith("-") and not first.startswith(_OF_THE_PARSER):
        # Options may take any number of words, so none after them is surely the student.
        say(f"error: the student comes first: {PROG} STUDENT {first} ...; see --help")
        return 2
    if first and first not in RECIPES:
        if Path(first).exists():
            folder = Path(first)
            words.insert(0, _CHECKPOINT)
        elif Path(first).name != first:
            say(f"error: {first} does not exist; give a checkpoint folder or one of {[*RECIPES]}")
            return 1
    return run_command(words, _command_type(folder), _work, prog=PROG)


def _command_type(folder: Path | None) -> Any:
    """Return one set of options per recipe, and one for a checkpoint."""
    start = None
    with suppress(HeadlightError):  # which the work itself will meet and tell
        start = load_checkpoint(folder) if folder else None
    defaults = {name: recipe_options(name) for name in RECIPES}
    texts = {name: f"A fresh network: {text}" for name, (text, _) in RECIPES.items()}
    defaults[_CHECKPOINT] = checkpoint_options(training_of(start) if start else {})
    texts[_CHECKPOINT] = "Train the checkpoint folder that follows; this word may be left out."
    return tyro.extras.subcommand_type_from_defaults(defaults, texts)


def recipe_options(name: str) -> DistillConfig:
    """Return what the command has without words where the student is a recipe."""
    _, recipe = RECIPES[name]
    return DistillConfig(**{**values_of(recipe), "data": (), "schema": OF_TEACHER})


def checkpoint_options(trained: Mapping[str, Any]) -> DistillConfig:
    """Return what the command has without words where the student is a checkpoint.

    Args:
        trained: Fields of ``LoopConfig`` that are taken over from its training.
    """
    return _TrainOn(loop=LoopConfig(**trained))


def _work(config: DistillConfig) -> int:
    with joined_ranks(config.rank_timeout_s):
        checkpoint = distill(config)
        show_table("Distillation", _rows(checkpoint.metrics["distill"]))
        folder = checkpoint.folder
        print(f"wrote {folder}; next: python -m compress.quantize {folder} --help")
    return 0
