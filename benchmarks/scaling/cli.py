"""How an artifact's throughput grows on this machine, along five axes.

- ``batch``: samples of an engine call. ``threads``: threads of a call of one sample.
- ``streams``: callers in parallel, each with one sample and one thread at a time.
- ``cameras``: frames that are answered per second, with the share that was dropped or late.
- ``size``: the input's height and width, where the graph allows another one; through OpenVINO.

Answers of the first four are checked within the timed runs.

Exit codes: 0 done, 1 error, 2 usage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

from benchmarks.arguments import OUTPUT, POSITIONAL, artifact_names
from benchmarks.command import run_command, say
from benchmarks.environment import environment
from benchmarks.figures import check_matplotlib
from benchmarks.report import Report
from runtime.cores import own_cores
from runtime.errors import ConfigError
from runtime.staging import check_free

from .axes import AXES, Along
from .picture import draw_scaling, drawable_axes
from .points import Point

__all__ = ["ScalingConfig", "main", "scaling"]

PROG: Final = "python -m benchmarks.scaling"
PICTURE: Final = "scaling.png"
_LEAD: Final = (
    "How many samples a second are answered when one thing grows: samples of an engine call, "
    "threads of a call, callers in parallel, cameras, or the size of the input."
)
_CAPTION: Final = "Samples per second along every axis, a line per artifact."
Axis: TypeAlias = Literal["batch", "threads", "streams", "cameras", "size"]


def _cores(times: int) -> tuple[int, ...]:
    """Return powers of two up to the number of cores, ``times`` as many at most."""
    return tuple(1 << power for power in range((times * len(own_cores())).bit_length()))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingConfig:
    """Measure how throughput grows."""

    artifacts: Annotated[tuple[Path, ...], POSITIONAL]
    """Artifact folders."""
    axis: tuple[Axis, ...] = ("batch", "threads", "streams", "cameras", "size")
    """What to change."""
    batch: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    """Samples of a call."""
    threads: tuple[int, ...] = _cores(1)
    """Threads of a call; powers of two up to the cores if not given. The first is also that of the
    other axes."""
    streams: tuple[int, ...] = _cores(2)
    """Callers in parallel; up to twice the cores if not given."""
    cameras: tuple[int, ...] = (1, 4, 16, 64)
    """Numbers of cameras."""
    size: tuple[float, ...] = (0.5, 0.75, 1.0, 1.5, 2.0)
    """Times the network's own height and width."""
    fps: float = 15.0
    """Frames per second of each camera."""
    workers: int = 1
    """Threads that serve the cameras."""
    duration: float = 2.0
    """Least seconds of every measurement."""
    tries: int = 2
    """Measure again, at most this often, while other processes keep the machine busy."""
    output: Annotated[Path | None, OUTPUT] = None
    """New folder for result.json, report.md and the picture."""
    overwrite: bool = False
    """Replace the output folder."""

    def __post_init__(self) -> None:
        counts = (*self.batch, *self.threads, *self.streams, *self.cameras)
        if min(counts, default=0) < 1 or min(self.workers, self.tries) < 1:
            raise ConfigError(f"all counts must be at least 1, got {sorted(set(counts))}")
        if not all(0 < factor <= 16 for factor in self.size):
            raise ConfigError(f"--size must be in (0, 16], got {self.size}")
        if not (0 < self.fps < 1e4 and 0 < self.duration < 3600):
            raise ConfigError(
                f"--fps must be in (0, 10000) and --duration in (0, 3600), got {self.fps} and "
                f"{self.duration}"
            )
        if not all((self.axis, *(self.values(axis) for axis in self.axis), self.threads)):
            raise ConfigError("every --axis needs a value, and there must be one --axis at least")

    def values(self, axis: Axis) -> Sequence[float]:
        """Return the places of one axis."""
        values: tuple[float, ...] = getattr(self, axis)
        return values


def scaling(config: ScalingConfig) -> int:
    """Run the command.

    Returns:
        0.

    Raises:
        HeadlightError: anything that a user can mend.
    """
    names = artifact_names(config.artifacts)
    if config.output is not None:
        check_free(config.output, overwrite=config.overwrite)
        check_matplotlib()
    points: list[Point] = []
    for name, folder in zip(names, config.artifacts, strict=True):
        along = Along(
            name=name,
            folder=folder,
            threads=config.threads[0],
            duration_s=config.duration,
            tries=config.tries,
            fps=config.fps,
            workers=config.workers,
        )
        for axis in config.axis:
            say(f"{name}: {axis} {', '.join(f'{value:g}' for value in config.values(axis))}")
            points += AXES[axis](along, config.values(axis))
    report = _report(config, points)

    def draw(folder: Path) -> Mapping[str, str]:
        if not drawable_axes(points):
            return {}
        draw_scaling(folder / PICTURE, points)
        return {PICTURE: _CAPTION}

    report.publish(
        config.output,
        overwrite=config.overwrite,
        draw=draw,
        hint="next: python -m benchmarks.roofline ARTIFACT...",
    )
    return 0


def _report(config: ScalingConfig, points: Sequence[Point]) -> Report:
    tables = {}
    for axis in config.axis:
        own = [point for point in points if point.axis == axis]
        first = {point.artifact: point for point in reversed(own) if point.samples_per_s}
        tables[f"Throughput against {axis}"] = [
            point.row(first.get(point.artifact)) for point in own
        ]
    return Report(
        title="How throughput grows",
        lead=_LEAD,
        tables=tables,
        data={
            "command": "benchmarks.scaling",
            "config": asdict(config),
            "environment": environment(),
            "points": [point.to_object() for point in points],
        },
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and measure; return the exit code."""
    return run_command(argv, ScalingConfig, scaling, prog=PROG)
