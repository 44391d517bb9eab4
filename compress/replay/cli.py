"""Repeat the chain that made a checkpoint: ``python -m compress.replay CHECKPOINT --output DIR``.

Every checkpoint says which steps it went through, each with its options, the digests of what it
read, and the environment. The steps are printed as command lines, the data is compared with the
digests, and every step is run again into ``DIR/STEP``, on what the step before has just made. On
the same machine with the same versions the result has the same weights, bit for bit.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import tyro

from benchmarks.arguments import POSITIONAL
from benchmarks.command import run_command, say
from benchmarks.report import show_table
from runtime.errors import CheckpointError, ConfigError, DataError
from train.checkpoint import CHECKPOINT_FILE, Checkpoint, load_checkpoint
from train.lineage import plain

from .checks import data_differences, environment_differences, metric_rows, weight_rows
from .steps import Step, read_steps

__all__ = ["ReplayConfig", "main", "replay"]

PROG: Final = "python -m compress.replay"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayConfig:
    """Repeat the steps that made a checkpoint."""

    checkpoint: Annotated[Path, POSITIONAL]
    """Checkpoint folder whose chain is repeated; it stays as it is."""
    output: Path
    """Folder to make the steps' checkpoints in, each under the step's name. What an interrupted
    replay has finished is not made again."""
    start: Annotated[str, tyro.conf.arg(name="from")] = ""
    """Step to begin with: its own start is then the checkpoint that it was made from."""
    teacher: tuple[Path, ...] = ()
    """Where teachers are now, if not where they were; recognised by their weights."""
    strict: bool = False
    """Fail, before anything is trained, where data differs from the record."""
    dry_run: bool = False
    """Print and compare only."""


@dataclass(frozen=True, slots=True)
class _Planned:
    """A step as it is to be run now."""

    step: Step
    config: Any
    words: Sequence[str]


def replay(config: ReplayConfig) -> Checkpoint | None:
    """Repeat a chain as ``config`` says; return the last checkpoint, None after a dry run.

    Raises:
        DataError: with ``strict``, data that differs from the record.
        HeadlightError: the record cannot be read, a checkpoint is missing, or a step fails.
        KeyboardInterrupt: interrupted; the same call goes on.
    """
    recorded = load_checkpoint(config.checkpoint)
    plan = _plan(config, recorded)
    steps = [planned.step for planned in plan]
    for planned in plan:
        print(shlex.join(planned.words))
    for difference in environment_differences(steps):
        say(difference)
    differences = data_differences(steps, recorded)
    if differences and config.strict:
        raise DataError("\n".join(differences))
    for difference in differences:
        say(difference)
    if config.dry_run:
        return None
    made = [_run(planned) for planned in plan]
    show_table("Weights", weight_rows(steps, made, recorded))
    show_table("Metrics", metric_rows(recorded, made[-1], steps[-1].name.rstrip("0123456789")))
    return made[-1]


def _plan(config: ReplayConfig, recorded: Checkpoint) -> list[_Planned]:
    """Return the steps to run.

    Raises:
        CheckpointError: the record cannot be read, or a checkpoint that was read is missing.
        ConfigError: ``start`` is none of the steps.
    """
    steps = read_steps(recorded)
    names = [step.name for step in steps]
    if not steps or config.start not in ("", *names):
        raise ConfigError(
            f"{config.checkpoint}: the chain has the steps {names}, asked for "
            f"{config.start or 'all of them'!r}"
        )
    first = names.index(config.start) if config.start else 0
    places = _Places(config, steps, first)
    plan = []
    for place, step in enumerate(steps[first:], start=first):
        now = step.changed(
            teachers=places.teachers(place),
            output=config.output / step.name,
            overwrite=False,
            **places.start(place),
        )
        words = ["python", "-m", step.kind.module, *step.kind.words(now, recorded)]
        plan.append(_Planned(step, now, words))
    return plan


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the checkpoints that steps read are now."""

    config: ReplayConfig
    steps: Sequence[Step]
    first: int
    """Place of the first step that is run."""

    def start(self, place: int) -> dict[str, Path]:
        """Return the option that names the start of the step at ``place``, if it has one."""
        step = self.steps[place]
        if step.start is None:
            return {}
        made = self.config.output / self.steps[place - 1].name
        # With --from, an earlier replay may have made the start already.
        if place > self.first or (place and made.exists()):
            return {step.kind.start: made}
        return {step.kind.start: _found(step, step.kind.start, [step.start], "put it there")}

    def teachers(self, place: int) -> tuple[Path, ...]:
        """Return the teachers of the step at ``place``."""
        step = self.steps[place]
        keys = [f"teacher{number}" for number in range(2, len(step.teachers) + 1)]
        found = []
        for key, path in zip(["teacher", *keys], step.teachers, strict=False):
            own = self._made(place, step.inputs.get(key))
            others = [path, *self.config.teacher]
            found.append(own or _found(step, key, others, "pass its folder with --teacher"))
        return tuple(found)

    def _made(self, place: int, digest: str | None) -> Path | None:
        """Return what makes a teacher of a step before it in the chain, run again as well."""
        for number in range(self.first, place):
            after = self.steps[number + 1]
            if digest is not None and after.inputs.get(after.kind.start) == digest:
                return self.config.output / self.steps[number].name
        return None


def _found(step: Step, key: str, places: Sequence[Path], advice: str) -> Path:
    """Return the first of ``places`` with the checkpoint that ``step`` read as ``key``.

    Raises:
        CheckpointError: none of them has it.
    """
    wanted = step.inputs.get(key)
    for place in places:
        if place.exists() and wanted in (None, load_checkpoint(place).digest):
            return place
    raise CheckpointError(
        f"step {step.name!r} read a checkpoint ({key}) with weights of sha256 "
        f"{str(wanted)[:12]}..., which is not at {', '.join(map(str, places))}; {advice}"
    )


def _run(planned: _Planned) -> Checkpoint:
    """Run a step, unless an earlier replay did.

    Raises:
        ConfigError: its folder holds something else.
        HeadlightError: the step fails.
    """
    step, config = planned.step, planned.config
    if (config.output / CHECKPOINT_FILE).exists():
        made = load_checkpoint(config.output)
        entry = [*made.lineage.values()][-1]
        if entry["config"] != plain(config):
            raise ConfigError(
                f"{config.output} was made with other options; choose another --output"
            )
        say(f"{step.name}: {config.output} is there already")
        return made
    say(f"{step.name}: {config.output}")
    checkpoint: Checkpoint = step.kind.work(config)
    return checkpoint


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(argv, ReplayConfig, _work, prog=PROG)


def _work(config: ReplayConfig) -> int:
    checkpoint = replay(config)
    if checkpoint is None:
        print(
            f"nothing was run; without --dry-run the steps' checkpoints are made in {config.output}"
        )
    else:
        print(
            f"wrote {checkpoint.folder}; next: python -m train.evaluate {checkpoint.folder} --help"
        )
    return 0
