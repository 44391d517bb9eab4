"""Compare NEW with OLD: is it slower, does it answer worse? For regressions in CI.

OLD and NEW are artifacts, which are measured now: timed by turns in one process, after OLD against
itself, and judged on the same labelled crops. Or they are results (``result.json``) of earlier runs
of ``benchmarks.accuracy`` or ``benchmarks.latency``, of which is compared what can be.

A limit passes only where the data show that it is kept, at 95 % confidence unless told otherwise.

Exit codes: 0 every limit kept, 1 error or a limit broken, 2 usage, 3 inconclusive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from benchmarks.arguments import POSITIONAL
from benchmarks.budget import Limit, Outcome, Verdict, exit_code, judge
from benchmarks.command import run_command, say
from benchmarks.environment import environment
from benchmarks.labelled import read_labelled
from benchmarks.report import Report, headline
from benchmarks.scoring import common_schema, is_model, load_manifest, origin
from runtime.errors import ConfigError
from runtime.staging import check_free

from .artifacts import compare_answers, compare_speed
from .earlier import compare_earlier, read_earlier
from .racing import ROUNDS, Track, slowdown_limit

__all__ = ["CompareConfig", "compare", "main"]

PROG: Final = "python -m benchmarks.compare"
_UNKNOWN: Final = "no labelled crops to compare answers on; pass --data, or --only speed"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareConfig:
    """Compare NEW with OLD: is it slower, does it answer worse?"""

    old: Annotated[Path, POSITIONAL]
    """Artifact, description of a bare model, or result.json (or its folder) of an earlier run."""
    new: Annotated[Path, POSITIONAL]
    """The same kind of thing, after the change."""
    data: Path | None = None
    """List or folder of labelled crops to compare artifacts on."""
    max_slowdown: float = 0.05
    """Share by which the median of NEW may be slower."""
    max_drop: float = 0.005
    """Share of exact answers that NEW may lose."""
    only: Literal["speed", "accuracy"] | None = None
    """Judge only one of the two."""
    confidence: float = 0.95
    """Of each bound that a limit is judged by."""
    threads: int = 1
    """Threads of the engines."""
    rounds: int = ROUNDS
    """Rounds of a comparison of two timings; an inconclusive one goes on for three times more."""
    seed: int = 0
    """Of the order within rounds."""
    output: Path | None = None
    """New folder for result.json, report.md and junit.xml."""
    overwrite: bool = False
    """Replace the output folder."""

    def __post_init__(self) -> None:
        if not 0 < self.max_slowdown < 10 or not 0 <= self.max_drop < 1:
            raise ConfigError(
                "--max-slowdown must be in (0, 10) and --max-drop in [0, 1), got "
                f"{self.max_slowdown} and {self.max_drop}"
            )
        if self.threads < 1 or self.rounds < 5:
            raise ConfigError(
                f"--threads must be >= 1 and --rounds >= 5, got {self.threads} and {self.rounds}"
            )
        if self.only == "speed" and self.data is not None:
            raise ConfigError("--only speed compares no answers; leave --data out")

    @property
    def speed_limits(self) -> Mapping[str, Limit]:
        """Limits of the engine call and of the whole reader."""
        if self.only == "accuracy":
            return {}
        return {
            of: slowdown_limit(of, self.max_slowdown, self.confidence) for of in ("engine", "read")
        }

    @property
    def drop_limit(self) -> Limit | None:
        """Limit of the exact answers lost."""
        if self.only == "speed":
            return None
        return Limit(metric="versus.exact_drop", max=self.max_drop, confidence=self.confidence)


@dataclass(frozen=True, slots=True)
class _Found:
    """What was measured, for a report."""

    verdicts: list[Verdict] = field(default_factory=list)
    rows: dict[str, str] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)


def compare(config: CompareConfig) -> int:
    """Run the command.

    Returns:
        The exit code.

    Raises:
        HeadlightError: anything that a user can mend.
    """
    if config.output is not None:
        check_free(config.output, overwrite=config.overwrite)
    kinds = {is_model(path) for path in (config.old, config.new)}
    if len(kinds) > 1:
        raise ConfigError(
            f"one of {config.old} and {config.new} is an artifact, the other is none; name two "
            "artifacts, or two results of earlier runs"
        )
    report = _measured_now(config) if True in kinds else _measured_before(config)
    report.publish(config.output, overwrite=config.overwrite)
    return exit_code([verdict for verdicts in report.verdicts.values() for verdict in verdicts])


def _measured_now(config: CompareConfig) -> Report:
    found = _Found()
    _compare_speed(config, found)
    _compare_answers(config, found)
    name = config.new.resolve().name
    return _report(config, {name: found.verdicts}, {name: found.rows}, found.data)


def _compare_speed(config: CompareConfig, found: _Found) -> None:
    limits = dict(config.speed_limits)
    if not limits:
        return
    say(f"timing {config.old} against itself, then {config.new} against it, by turns")
    track = Track(threads=config.threads, rounds=config.rounds, seed=config.seed)
    races = compare_speed(config.old, config.new, limits, track)
    for race in races:
        found.verdicts.append(race.verdict(limits[race.of]))
        found.rows.update(race.rows())
    cores = max(race.noise.other_cores or 0.0 for race in races)
    noisy = any(race.noise.noisy for race in races)
    found.rows["cores used by others"] = f"{cores:.2f}" + (" NOISY" if noisy else "")
    found.data["speed"] = {race.of: race.to_object() for race in races}


def _compare_answers(config: CompareConfig, found: _Found) -> None:
    limit = config.drop_limit
    if limit is None:
        return
    if config.data is None:
        found.verdicts.append(Verdict(limit, Outcome.INCONCLUSIVE, _UNKNOWN))
        return
    manifests = {str(path): load_manifest(path) for path in (config.old, config.new)}
    data = read_labelled(config.data, common_schema(manifests))
    say(f"scoring {len(data)} crops of {config.data} with both")
    answers, examples = compare_answers(config.old, config.new, data, threads=config.threads)
    found.verdicts.extend(judge(answers.measurements(), [limit]))
    found.rows.update(answers.rows())
    told = {"origin": origin(data), **answers.to_object(), "flip_examples": examples}
    found.data["accuracy"] = told


def _measured_before(config: CompareConfig) -> Report:
    if config.data is not None:
        raise ConfigError("--data is for artifacts; results of earlier runs hold their answers")
    old, new = read_earlier(config.old), read_earlier(config.new)
    verdicts = compare_earlier(old, new, speed=config.speed_limits, drop=config.drop_limit)
    if not any(verdicts.values()):
        raise ConfigError(f"results of {new.command} say nothing of {config.only}")
    return _report(config, verdicts, {}, {})


def _report(
    config: CompareConfig,
    verdicts: Mapping[str, Sequence[Verdict]],
    columns: Mapping[str, Mapping[str, str]],
    data: Mapping[str, Any],
) -> Report:
    title = f"{config.new} against {config.old}"
    about = {
        "command": "benchmarks.compare",
        "config": asdict(config),
        "environment": environment(),
    }
    return Report(
        title=title,
        tables={title: headline(columns)} if columns else {},
        data={**about, **data},
        verdicts=verdicts,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and compare; return the exit code."""
    return run_command(argv, CompareConfig, compare, prog=PROG)
