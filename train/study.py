"""Compare settings of a training over several seeds: ``python -m train.study PLAN.toml``.

Every run is a ``train.fit`` (or another command) of its own in a folder of its own; what is there
already is not made again, and interrupted runs go on where they were.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Event

import torch
import tyro

from benchmarks.assessment import assess
from benchmarks.command import run_command, say
from benchmarks.environment import environment
from benchmarks.figures import check_matplotlib
from runtime.errors import ConfigError, DataError, HeadlightError
from runtime.preprocess import InputSpec
from runtime.schema import Schema
from runtime.staging import write_text

from .checkpoint import CHECKPOINT_FILE, load_checkpoint
from .data import CropSet, load_crops
from .scoring import score
from .study_plan import Plan, Run, fill, read_plan
from .study_report import Outcome, write_report

__all__ = ["StudyConfig", "main", "study"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyConfig:
    """Train every variant of a plan for every seed, and compare them on the plan's lists.

    Raises:
        ConfigError: no seed, a seed twice, or fewer than one job.
    """

    plan: tyro.conf.Positional[Path]
    """TOML file: what to train (``train.study_plan`` describes it)."""
    data: Path
    """Folder that ``{data}`` in the plan stands for."""
    output: Path
    """Folder of all runs, their logs and the report."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One training per variant and seed."""
    variants: tuple[str, ...] = ()
    """Only these variants; all where not given."""
    jobs: int = 1
    """Trainings at a time; the cores are shared among them."""
    report_only: bool = False
    """Train nothing; compare the runs that are there, of a study under way or of several
    machines."""

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or self.jobs < 1:
            raise ConfigError(
                f"need seeds, none twice, and jobs >= 1, got {self.seeds} and {self.jobs}"
            )


def study(config: StudyConfig) -> Sequence[Outcome]:
    """Run what is missing, judge all runs, write the report.

    Returns:
        One outcome per run that is there.

    Raises:
        ConfigError: the plan cannot be used, or was changed after some of its runs.
        DataError: only a report was asked for, and there is no run.
        HeadlightError: a run failed; its log is named. The others were finished first.
        KeyboardInterrupt: interrupted; the same call goes on.
    """
    check_matplotlib()
    plan = read_plan(config.plan)
    unknown = set(config.variants) - {variant.name for variant in plan.variants}
    if unknown:
        raise ConfigError(f"{config.plan} has no variants {sorted(unknown)}")
    runs = [
        run
        for run in plan.runs(config.data, config.output, config.seeds)
        if not config.variants or run.variant in config.variants
    ]
    _check_made_alike(runs)
    config.output.mkdir(parents=True, exist_ok=True)
    for command in plan.prepare:
        _prepare([fill(word, {"data": config.data, "output": config.output}) for word in command])
    failed = [] if config.report_only else _train_all(runs, config.jobs)
    outcomes = [_judge(run, plan, config.data) for run in runs if _is_there(run.output)]
    if config.report_only and not outcomes:
        raise DataError(f"{config.output} holds none of the {len(runs)} runs yet")
    if outcomes:
        write_report(config.output, plan, outcomes, environment())
    if failed:
        raise HeadlightError(
            f"{len(failed)} of {len(runs)} runs failed: "
            + ", ".join(f"{run.variant} (seed {run.seed}; see {_log(run)})" for run in failed)
        )
    return outcomes


def _prepare(command: Sequence[str]) -> None:
    try:
        subprocess.run([sys.executable, "-m", *command], check=True, stdout=2)
    except subprocess.CalledProcessError as error:
        raise HeadlightError(
            f"the study's command {' '.join(command)!r} failed with exit code {error.returncode}"
        ) from error


def _is_there(folder: Path) -> bool:
    return (folder / CHECKPOINT_FILE).is_file()


def _log(run: Run) -> Path:
    return run.output.with_name(f"{run.output.name}.log")


def _command_file(run: Run) -> Path:
    return run.output.with_name(f"{run.output.name}.command")


def _check_made_alike(runs: Sequence[Run]) -> None:
    """Fail where a finished run was made by another command than the plan has now.

    Runs without a record, such as those put there by hand, are taken as they are.

    Raises:
        ConfigError: names the runs.
    """
    changed = [
        run.output.name
        for run in runs
        if _is_there(run.output)
        and _command_file(run).is_file()
        and _command_file(run).read_text("utf-8") != _command_text(run)
    ]
    if changed:
        raise ConfigError(
            f"the plan has changed since {', '.join(changed)} in {runs[0].output.parent}; delete "
            "these folders to train them anew, or choose another --output"
        )


def _command_text(run: Run) -> str:
    return json.dumps(run.planned, ensure_ascii=False) + "\n"


def _train_all(runs: Sequence[Run], jobs: int) -> list[Run]:
    """Run what is missing, ``jobs`` at a time; returns the runs that failed."""
    # Torch's own number, not os.cpu_count(): taskset, containers and OMP_NUM_THREADS make it less.
    threads = max(1, torch.get_num_threads() // jobs)
    stop = Event()
    children: set[subprocess.Popen[bytes]] = set()

    def train(run: Run) -> bool:
        if _is_there(run.output) or stop.is_set():
            return True
        if run.start is not None and not _is_there(run.start):
            say(f"{run.output.name}: left out, {run.start.name} is not there")
            return False
        say(f"{run.output.name}: started")
        write_text(_command_file(run), _command_text(run))
        command = [sys.executable, "-m", run.module, *run.arguments, "--threads", str(threads)]
        with (
            _log(run).open("ab") as log,
            subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": str(threads)},
                # Ctrl-C reaches the study alone, which passes it on once: a training saves its
                # state at the first one and breaks off at a second.
                start_new_session=True,
            ) as child,
        ):
            children.add(child)
            code = child.wait()
            children.discard(child)
        say(f"{run.output.name}: {'done' if code == 0 else f'failed with exit code {code}'}")
        return code == 0

    failed: list[Run] = []
    for wave in _waves(runs):
        with _terminated_as_interrupted(), ThreadPoolExecutor(jobs) as pool:
            try:
                done = list(pool.map(train, wave))
            except KeyboardInterrupt:  # inside the pool, which waits for its threads on its way out
                stop.set()
                for child in list(children):
                    child.send_signal(signal.SIGINT)
                raise
        failed += [run for run, fine in zip(wave, done, strict=True) if not fine]
    return failed


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does: trainings would else go on without their study."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _waves(runs: Sequence[Run]) -> Iterator[Sequence[Run]]:
    """Yield all runs, each after the one whose checkpoint it starts from."""
    waiting = list(runs)
    while waiting:
        missing = {run.output for run in waiting}
        wave = [run for run in waiting if run.start not in missing]
        yield wave
        waiting = [run for run in waiting if run not in wave]


@lru_cache(maxsize=8)
def _test_crops(source: Path, schema: Schema, spec: InputSpec) -> CropSet:
    """Read a list once for all runs that see it alike."""
    return load_crops([source], schema, spec)


def _judge(run: Run, plan: Plan, data: Path) -> Outcome:
    checkpoint = load_checkpoint(run.output)
    network = checkpoint.build()
    found: dict[str, Mapping[str, float]] = {}
    for name, path in plan.tests.items():
        source = Path(fill(path, {"data": data, "output": run.output.parent}))
        crops = _test_crops(source, checkpoint.schema, checkpoint.input)
        logits = score(network, crops)
        judged = assess(checkpoint.schema, logits, crops.targets, checkpoint.operating)
        found[name] = {
            measured.metric: measured.value
            for measured in judged.measurements()
            if measured.value is not None
        }
    return Outcome(variant=run.variant, seed=run.seed, lists=found)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(argv, StudyConfig, _work, prog="python -m train.study")


def _work(config: StudyConfig) -> int:
    study(config)
    print(f"wrote {config.output / 'study.md'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
