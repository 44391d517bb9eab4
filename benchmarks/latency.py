"""Measure how fast artifacts are on this machine, and judge them by a budget.

MLPerf's scenarios single-stream, multi-stream, server and offline, and ``camera``; see
``scenarios`` for what these words mean. Then cold starts and size. The answers of the timed runs
are checked; a wrong one ends the command. With several artifacts, all engines also run by turns in
one process, and the first is what the others' speedups are against. In the table, the number in
brackets is the bound that the true percentile keeps with 99 % confidence.

Exit codes: 0 done and every limit kept, 1 error or a limit broken, 2 usage, 3 inconclusive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from runtime.arrays import Image
from runtime.errors import ConfigError
from runtime.manifest import Manifest
from runtime.staging import check_free

from .arguments import POSITIONAL, artifact_names
from .budget import RELATIVE_FAMILIES, Limit, exit_code, judge
from .budget_file import limits_for, read_load
from .command import run_command, say
from .crops.unlabelled import unlabelled_rows
from .environment import device, environment
from .figures import check_matplotlib, draw_latencies, draw_timeline
from .noise import quietest
from .report import Report, headline
from .scenarios import Comparison, Query, Turns, compare_interleaved
from .scoring import load_manifest, model_facts
from .speed import (
    Loads,
    Plan,
    Speed,
    measure_speed,
    open_subject,
    scenarios_for,
    speedup_measurement,
)

__all__ = ["LatencyConfig", "main", "measure_latency"]

PROG: Final = "python -m benchmarks.latency"
Scenario: TypeAlias = Literal["single-stream", "multi-stream", "server", "offline", "camera"]
_MOST_CROPS: Final = 256
"""Of ``--data``: enough that caches do not know them all, few enough to be read beforehand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyConfig:
    """Measure how fast artifacts are on this machine."""

    artifacts: Annotated[tuple[Path, ...], POSITIONAL]
    """Artifact folders, or descriptions of bare models; the first is the reference."""
    scenario: tuple[Scenario, ...] = ()
    """Scenarios to measure; single-stream, offline and those of the budget if not given."""
    data: Path | None = None
    """Folder or list of crops to time with, the first 256; the artifact's own if not given."""
    threads: int = 1
    """Threads of the engine."""
    batch: int = 1
    """Samples per engine call of offline; most waiting ones that server and camera take."""
    duration: float = 5.0
    """Least seconds per scenario."""
    tries: int = 3
    """Measure again, at most this often, while other processes keep the machine busy."""
    cold_starts: int = 11
    """Fresh processes to time the first answer of; 11 give a p50, 64 a p90, 0 skips it."""
    streams: int | None = None
    """Samples per query of multi-stream; 8 if not given."""
    rate: float | None = None
    """Queries per second of server; the highest that holds is searched if not given."""
    bound_ms: float | None = None
    """Within which server must answer 99 % of its queries; 15 if not given."""
    cameras: int | None = None
    """Cameras; 4 if not given."""
    fps: float | None = None
    """Frames per second of each camera; 15 if not given."""
    jitter_ms: float | None = None
    """Largest random delay of a frame; 5 if not given."""
    deadline_ms: float | None = None
    """A frame that is answered later is late; the time between two frames if not given."""
    workers: int = 1
    """Threads that serve the queries of server and camera."""
    seed: int = 0
    """Of arrivals and jitter."""
    budget: Path | None = None
    """Limits (docs/budgets.md) to judge by."""
    output: Path | None = None
    """New folder for result.json, report.md, junit.xml and pictures."""
    overwrite: bool = False
    """Replace the output folder."""
    plain: bool = False
    """Write tables and numbers only: no page, no pictures, no packages that draw them."""

    def __post_init__(self) -> None:
        if min(self.threads, self.batch, self.tries) < 1 or self.cold_starts < 0:
            raise ConfigError("--threads, --batch and --tries must be >= 1, --cold-starts >= 0")
        if not 0 < self.duration < 3600:
            raise ConfigError(f"--duration must be in (0, 3600) seconds, got {self.duration}")

    def loads(self, asked: Mapping[str, float]) -> Loads:
        """Return what the scenarios ask of an artifact.

        Args:
            asked: What the budget says of the load.

        Raises:
            ConfigError: an option says otherwise, or a number cannot be.
        """
        found: dict[str, float] = dict(asked)
        for field in fields(Loads):
            value = getattr(self, field.name)
            if value is not None and asked.get(field.name, value) != value:
                option = f"--{field.name.replace('_', '-')} {value:g}"
                raise ConfigError(
                    f"{option}, but the budget's limits hold under {field.name} = "
                    f"{asked[field.name]:g}; leave the option out or change the budget"
                )
            if value is not None:
                found[field.name] = value
        return Loads.of(found)


def measure_latency(config: LatencyConfig) -> int:
    """Run the command.

    Returns:
        The exit code.

    Raises:
        HeadlightError: anything that a user can mend.
    """
    names = artifact_names(config.artifacts)
    folders = dict(zip(names, config.artifacts, strict=True))
    manifests = {name: load_manifest(folder) for name, folder in folders.items()}
    if config.output is not None:
        check_free(config.output, overwrite=config.overwrite)
        if not config.plain:
            check_matplotlib()
    limits = limits_for(config.budget, device(), "benchmarks.latency")
    plan = _plan(config, limits)
    speeds = {}
    for name, folder in folders.items():
        seconds = len(plan.scenarios) * config.duration
        say(f"{name}: measuring {', '.join(plan.scenarios)}, {seconds:.0f} s or more")
        speeds[name] = measure_speed(folder, plan)
    comparison = _compare(folders, plan) if len(folders) > 1 else None
    report = _report(config, manifests, speeds, comparison, limits)
    report.publish(
        config.output,
        overwrite=config.overwrite,
        draw=None if config.plain else partial(_draw, speeds),
        hint="next: python -m benchmarks.accuracy ARTIFACT... --data LIST",
    )
    return exit_code([verdict for verdicts in report.verdicts.values() for verdict in verdicts])


def _plan(config: LatencyConfig, limits: Sequence[Limit]) -> Plan:
    decoders = _read_files(config.data) if config.data else ()
    return Plan(
        threads=config.threads,
        batch=config.batch,
        duration_s=config.duration,
        tries=config.tries,
        cold_starts=config.cold_starts,
        scenarios=scenarios_for(limits, config.scenario),
        loads=config.loads(read_load(config.budget) if config.budget else {}),
        crops=[decode() for decode in decoders],
        decoders=decoders,
    )


def _read_files(source: Path) -> Sequence[Callable[[], Image]]:
    """Read the files of the first crops; each of the functions decodes one."""
    pictures = unlabelled_rows(source).pictures
    first = range(min(len(pictures), _MOST_CROPS))
    return [partial(pictures.decode, index, pictures.content(index)) for index in first]


def _compare(folders: Mapping[str, Path], plan: Plan) -> Comparison:
    with ExitStack() as stack:
        queries: dict[str, Query] = {}
        for name, folder in folders.items():
            opened = open_subject(folder, threads=plan.threads, max_batch=1, crops=plan.crops)
            queries[name] = Turns(stack.enter_context(opened).engine(1))
        return quietest(partial(compare_interleaved, queries), tries=plan.tries)


def _report(
    config: LatencyConfig,
    manifests: Mapping[str, Manifest],
    speeds: Mapping[str, Speed],
    comparison: Comparison | None,
    limits: Sequence[Limit],
) -> Report:
    columns, verdicts, entries = {}, {}, {}
    for position, (name, speed) in enumerate(speeds.items()):
        manifest = manifests[name]
        column = {"engine": manifest.engine, "precision": manifest.precision, **speed.rows()}
        measured = speed.measurements()
        if comparison is not None:
            ratio = comparison.speedups[name]
            low, high = ratio.bounds(0.975)
            column["speedup of engine"] = f"{ratio.value:.2f} ({low:.2f}-{high:.2f})"
            measured.append(speedup_measurement(ratio))
        own = limits
        if comparison is not None and position == 0:  # its speedup is 1 by definition
            own = [limit for limit in limits if limit.family not in RELATIVE_FAMILIES]
        if own:
            verdicts[name] = judge(measured, own)
        columns[name] = column
        entries[name] = {"id": manifest.id, "about": model_facts(manifest), **speed.to_object()}
    title = f"Latency, {config.threads} thread{'s' if config.threads > 1 else ''}"
    return Report(
        title=title,
        tables={title: headline(columns)},
        data={
            "command": "benchmarks.latency",
            "config": asdict(config),
            "environment": environment(),
            "artifacts": entries,
            "interleaved": comparison.to_object() if comparison else None,
        },
        verdicts=verdicts,
    )


def _draw(speeds: Mapping[str, Speed], folder: Path) -> Mapping[str, str]:
    """Draw a histogram of all latencies, and every run with arrivals over time.

    Returns:
        File name to what it shows.
    """
    pictures: dict[str, str] = {}
    times: dict[str, dict[str, npt.NDArray[np.int64]]] = {}
    for number, (name, speed) in enumerate(speeds.items()):
        for scenario, finding in speed.findings.items():
            known = {kind: ns for kind, ns in finding.times_ns.items() if len(ns)}
            if known:
                times.setdefault(name, {}).update(known)
            if finding.timeline is not None:
                served, limit_ms = finding.timeline
                file = f"{scenario}_{number}.png" if number else f"{scenario}.png"
                title = f"{name}: {scenario}"
                pictures[file] = f"{title}: latency of every query over the course of the run"
                draw_timeline(folder / file, served, title, limit_ms=limit_ms)
    if times:
        draw_latencies(folder / "latency.png", times)
        return {"latency.png": "Histogram of all latencies", **pictures}
    return pictures


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and measure; return the exit code."""
    return run_command(argv, LatencyConfig, measure_latency, prog=PROG)


if __name__ == "__main__":
    raise SystemExit(main())
