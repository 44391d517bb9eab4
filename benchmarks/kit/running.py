"""What a kit's script runs on the device: speed, then accuracy, of every artifact that opens here.

It takes neither tyro nor anything that draws: the results are JSON, Markdown and JUnit, which
``python -m benchmarks.report`` joins with those of other devices.

Exit codes: 0 done and every limit kept, 1 error or a limit broken, 3 inconclusive.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.accuracy import AccuracyConfig, measure_accuracy
from benchmarks.budget import FAMILIES
from benchmarks.budget_file import read_budget
from benchmarks.command import say
from benchmarks.environment import device, environment
from benchmarks.latency import LatencyConfig, measure_latency
from benchmarks.report import to_json
from benchmarks.scoring import open_engine
from runtime.errors import ConfigError, HeadlightError
from runtime.staging import check_free, write_text

from .contents import LISTS, Contents, read_contents
from .crops import LABELS, PICTURES

__all__ = ["RESULTS", "RunConfig", "main", "run_kit"]

RESULTS: Final = "results"
SUMMARY: Final = "kit-run.json"
_INCONCLUSIVE: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """What to run of a kit."""

    kit: Path
    """The unpacked folder."""
    output: Path
    """New folder for the results."""
    more: Sequence[Path] = ()
    """Artifacts that are not in the kit: engines that were built on the device."""
    threads: int | None = None
    """Instead of those of the kit."""
    duration: float | None = None
    """Instead of that of the kit, seconds."""
    overwrite: bool = False
    """Replace the output folder."""


def run_kit(config: RunConfig) -> int:
    """Measure everything that opens on this device.

    Returns:
        The exit code.

    Raises:
        HeadlightError: the kit is damaged, or nothing opens here.
    """
    check_free(config.output, overwrite=config.overwrite)
    contents = read_contents(config.kit)
    wanted = [config.kit / path for path in contents.artifacts.values()] + list(config.more)
    usable, refused = _usable(wanted)
    config.output.mkdir(parents=True, exist_ok=True)
    codes: dict[str, int] = {}
    try:
        if not usable:
            reasons = "; ".join(f"{path}: {reason}" for path, reason in refused.items())
            raise ConfigError(f"no artifact of the kit can be opened on this device: {reasons}")
        for name, work in _steps(config, contents, usable).items():
            codes[name] = _tried(name, work)
    finally:
        summary = {"refused": refused, "exit_codes": codes, "environment": environment()}
        write_text(config.output / SUMMARY, to_json(summary))
    say(f"wrote {config.output}; bring it back and join it: python -m benchmarks.report RESULTS...")
    found = {*codes.values(), *([1] if refused else [])}
    return 1 if 1 in found else _INCONCLUSIVE if _INCONCLUSIVE in found else 0


def _usable(paths: Sequence[Path]) -> tuple[Sequence[Path], Mapping[str, str]]:
    """Open each artifact once; return those that open, and why others do not."""
    reasons = {path: _refusal(path) for path in paths}
    refused = {str(path): reason for path, reason in reasons.items() if reason is not None}
    for path, reason in refused.items():
        say(f"note: {path} is left out: {reason}")
    return [path for path, reason in reasons.items() if reason is None], refused


def _refusal(path: Path) -> str | None:
    try:
        with open_engine(path):
            return None
    except HeadlightError as error:
        return str(error)


def _steps(
    config: RunConfig, contents: Contents, artifacts: Sequence[Path]
) -> Mapping[str, Callable[[], int]]:
    budget = None if contents.budget is None else config.kit / contents.budget
    crops = config.kit / LISTS["data"]
    settings = contents.settings
    latency = LatencyConfig(
        artifacts=tuple(artifacts),
        data=crops / PICTURES,
        threads=config.threads or settings.threads,
        duration=config.duration or settings.duration,
        cold_starts=settings.cold_starts,
        tries=settings.tries,
        budget=_for(budget, "benchmarks.latency"),
        output=config.output / "latency",
        overwrite=config.overwrite,
        plain=True,
    )
    steps: dict[str, Callable[[], int]] = {"latency": lambda: measure_latency(latency)}
    if contents.labelled:
        accuracy = AccuracyConfig(
            artifacts=tuple(artifacts),
            data=crops / LABELS,
            validation=config.kit / LISTS["validation"] / LABELS if contents.validation else None,
            budget=_for(budget, "benchmarks.accuracy"),
            output=config.output / "accuracy",
            overwrite=config.overwrite,
            plain=True,
        )
        steps["accuracy"] = lambda: measure_accuracy(accuracy)
    return steps


def _for(budget: Path | None, command: str) -> Path | None:
    """Return the budget if it limits something that a command measures on this device."""
    if budget is None:
        return None
    limits = read_budget(budget, device())
    return budget if any(FAMILIES[limit.family] == command for limit in limits) else None


def _tried(name: str, work: Callable[[], int]) -> int:
    """Run a step; an error of one does not stop the next."""
    try:
        return work()
    except HeadlightError as error:
        say(f"error: {name}: {error}")
        return 1


def main(argv: Sequence[str] | None = None, *, kit: str) -> int:
    """Parse the script's options and run; return the exit code."""
    parser = argparse.ArgumentParser(prog="./run.sh", description="Measure this kit's artifacts.")
    parser.add_argument(
        "--output", type=Path, default=Path(kit) / RESULTS, help="new folder of results"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace it")
    parser.add_argument("--threads", type=int, help="threads of the engine")
    parser.add_argument("--duration", type=float, help="least seconds per scenario")
    parser.add_argument(
        "--artifact",
        dest="more",
        type=Path,
        nargs="+",
        default=(),
        help="artifacts that were built on this device (python3 -m export.trt.kit)",
    )
    options = parser.parse_args(argv)
    try:
        return run_kit(RunConfig(kit=Path(kit), **vars(options)))
    except HeadlightError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("error: interrupted; what was finished is in the results")
        return 1
