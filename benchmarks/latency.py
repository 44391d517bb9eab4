"""Measure how fast artifacts are on this machine, and judge them by a budget.

SingleStream of the engine call and of the whole ``Reader.read``, Offline throughput, cold starts,
size; see ``scenarios`` for what these words mean. With several artifacts, all engines also run by
turns in one process, and the first is what the others' speedups are against. In the table, the
number in brackets is the bound that the true percentile keeps with 99 % confidence.

Exit codes: 0 done and every limit kept, 1 error or a limit broken, 2 usage, 3 inconclusive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Final

from runtime.errors import ConfigError
from runtime.manifest import Manifest
from runtime.staging import check_free, new_folder

from .arguments import POSITIONAL, artifact_names
from .budget import RELATIVE_FAMILIES, Limit, exit_code, judge, limits_for
from .command import run_command, say
from .environment import device, environment
from .figures import check_matplotlib, draw_latencies
from .noise import quietest
from .report import Report, headline
from .scenarios import Comparison, Query, compare_interleaved
from .scoring import open_engine
from .speed import Plan, Speed, engine_input, measure_speed, speedup_measurement

__all__ = ["LatencyConfig", "main", "measure_latency"]

PROG: Final = "python -m benchmarks.latency"


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyConfig:
    """Measure how fast artifacts are on this machine."""

    artifacts: Annotated[tuple[Path, ...], POSITIONAL]
    """Artifact folders; the first is the reference of the others."""
    threads: int = 1
    """Threads of the engine."""
    batch: int = 1
    """Samples per engine call of the throughput scenario."""
    duration: float = 5.0
    """Least seconds per scenario."""
    tries: int = 3
    """Measure again, at most this often, while other processes keep the machine busy."""
    cold_starts: int = 11
    """Fresh processes to time the first answer of; 11 give a p50, 64 a p90, 0 skips it."""
    budget: Path | None = None
    """Limits (docs/budgets.md) to judge by."""
    output: Path | None = None
    """New folder for result.json, report.md, junit.xml and a histogram."""
    overwrite: bool = False
    """Replace the output folder."""


def measure_latency(config: LatencyConfig) -> int:
    """Run the command.

    Returns:
        The exit code.

    Raises:
        HeadlightError: anything that a user can mend.
    """
    if min(config.threads, config.batch, config.tries) < 1 or config.cold_starts < 0:
        raise ConfigError("--threads, --batch and --tries must be >= 1, --cold-starts >= 0")
    if not 0 < config.duration < 3600:
        raise ConfigError(f"--duration must be in (0, 3600) seconds, got {config.duration}")
    names = artifact_names(config.artifacts)
    folders = dict(zip(names, config.artifacts, strict=True))
    manifests = {name: Manifest.load(folder) for name, folder in folders.items()}
    if config.output is not None:
        check_free(config.output, overwrite=config.overwrite)
        check_matplotlib()
    limits = limits_for(config.budget, device(), "benchmarks.latency")
    plan = Plan(
        threads=config.threads,
        batch=config.batch,
        duration_s=config.duration,
        tries=config.tries,
        cold_starts=config.cold_starts,
    )
    speeds = {}
    for name, folder in folders.items():
        say(f"{name}: measuring, {3 * config.duration + 5:.0f} s or more; longer on a busy machine")
        speeds[name] = measure_speed(folder, plan)
    comparison = _compare(folders, config) if len(folders) > 1 else None
    report = _report(config, manifests, speeds, comparison, limits)
    report.show()
    if config.output is not None:
        _write(config.output, report, speeds, overwrite=config.overwrite)
    return exit_code([verdict for verdicts in report.verdicts.values() for verdict in verdicts])


def _compare(folders: Mapping[str, Path], config: LatencyConfig) -> Comparison:
    with ExitStack() as stack:
        queries: dict[str, Query] = {}
        for name, folder in folders.items():
            opened = stack.enter_context(open_engine(folder, threads=config.threads))
            manifest, session = opened
            queries[name] = partial(session.run, engine_input(folder, manifest, 1))
        return quietest(partial(compare_interleaved, queries), tries=config.tries)


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
        entries[name] = {"id": manifest.id, **speed.to_object()}
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


def _write(output: Path, report: Report, speeds: Mapping[str, Speed], *, overwrite: bool) -> None:
    with new_folder(output, overwrite=overwrite) as folder:
        times = {}
        for name, speed in speeds.items():
            times[f"{name} engine"] = speed.engine.queries_ns
            times[f"{name} read"] = speed.read.queries_ns
        draw_latencies(folder / "latency.png", times)
        report.write(folder, ["latency.png"])
    say(f"wrote {output}; next: python -m benchmarks.accuracy ARTIFACT... --data LIST")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and measure; return the exit code."""
    return run_command(argv, LatencyConfig, measure_latency, prog=PROG)


if __name__ == "__main__":
    raise SystemExit(main())
