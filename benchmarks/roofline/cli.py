"""How close artifacts come to what this processor can do, at batch 1 and at larger ones.

First the limits are measured: the highest rate of INT8, BF16 and FP32 arithmetic, and the rate of
every level of memory. Then each artifact's engine, whose layers are counted. *Limit* is the least
time that a sample can take: its arithmetic at the highest rate, or its bytes at the rate of the
memory that the call's working set fits into, whichever is longer. *Share* is that over the time
measured. Layer by layer the limit is closer: some layers wait for memory, others for arithmetic.

Exit codes: 0 done, 1 error, 2 usage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Final

from benchmarks.arguments import OUTPUT, POSITIONAL, artifact_names
from benchmarks.command import run_command, say
from benchmarks.environment import environment
from benchmarks.figures import check_matplotlib
from benchmarks.noise import quietest
from benchmarks.report import Report, Rows
from runtime.errors import ConfigError
from runtime.staging import check_free

from .ceilings import Ceilings, measure_ceilings
from .picture import draw_roofline
from .placing import Placed, graph_for, place

__all__ = ["RooflineConfig", "main", "roofline"]

PROG: Final = "python -m benchmarks.roofline"
PICTURE: Final = "roofline.png"
_LEAD: Final = (
    "The limit is the least time that a sample can take on this processor: its "
    "multiply-accumulates (MAC) at the highest rate that was measured for their type, or its bytes "
    "at the rate of the memory that a call's weights and features fit into, whichever is longer. "
    "The share of it is that time over the one measured: at 50 % an engine could be twice as fast "
    "at most. Layer by layer the limit is closer, where some layers wait for memory and others for "
    "arithmetic."
)
_CAPTION: Final = (
    "Rate of arithmetic over arithmetic per byte. Horizontal lines are the highest rates of "
    "arithmetic, slanted ones what the memory allows; every mark is an engine at one batch size, "
    "and its distance to the lines above it is what could still be gained."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RooflineConfig:
    """Compare engines with what this processor can do."""

    artifacts: Annotated[tuple[Path, ...], POSITIONAL]
    """Artifact folders, of engines that run on the CPU. Layers are counted in the graphs that
    OpenVINO can read; for others in that of an artifact of the same checkpoint and precision."""
    batch: tuple[int, ...] = (1, 32)
    """Samples of a call."""
    threads: int = 1
    """Threads of the engines, and of the limits."""
    duration: float = 2.0
    """Least seconds per artifact and batch."""
    ceiling_s: float = 0.5
    """Seconds for each graph and each level of memory that the limits are measured with."""
    tries: int = 3
    """Measure again, at most this often, while other processes keep the machine busy."""
    output: Annotated[Path | None, OUTPUT] = None
    """New folder for result.json, report.md and the picture."""
    overwrite: bool = False
    """Replace the output folder."""

    def __post_init__(self) -> None:
        if min(self.threads, self.tries, *self.batch, len(self.batch)) < 1:
            raise ConfigError("--threads, --tries and every --batch must be at least 1")
        if not (0 < self.duration < 3600 and 0 < self.ceiling_s < 60):
            raise ConfigError(
                f"--duration must be in (0, 3600) and --ceiling-s in (0, 60) seconds, got "
                f"{self.duration} and {self.ceiling_s}"
            )


def roofline(config: RooflineConfig) -> int:
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
    graphs = {folder: graph_for(folder, config.artifacts) for folder in config.artifacts}
    say("measuring the limits of this processor")
    ceilings = quietest(
        partial(measure_ceilings, threads=config.threads, seconds=config.ceiling_s),
        tries=config.tries,
    )
    placed: list[Placed] = []
    for name, folder in zip(names, config.artifacts, strict=True):
        say(f"{name}: measuring batches of {', '.join(map(str, config.batch))}")
        placed += place(
            name,
            folder,
            ceilings,
            graph=graphs[folder],
            batches=config.batch,
            duration_s=config.duration,
            tries=config.tries,
        )
    report = _report(config, ceilings, placed)

    def draw(folder: Path) -> Mapping[str, str]:
        draw_roofline(folder / PICTURE, ceilings, placed)
        return {PICTURE: _CAPTION}

    report.publish(config.output, overwrite=config.overwrite, draw=draw)
    return 0


def _report(config: RooflineConfig, ceilings: Ceilings, placed: Sequence[Placed]) -> Report:
    threads = f"{config.threads} thread{'s' if config.threads > 1 else ''}"
    return Report(
        title=f"Roofline, {threads}",
        lead=_LEAD,
        tables={
            f"Limits of this processor, {threads}": _ceiling_rows(ceilings),
            f"Artifacts below their limit, per sample, {threads}": [each.row() for each in placed],
        },
        data={
            "command": "benchmarks.roofline",
            "config": asdict(config),
            "environment": environment(),
            "ceilings": ceilings.to_object(),
            "artifacts": [each.to_object() for each in placed],
        },
    )


def _ceiling_rows(ceilings: Ceilings) -> Rows:
    rows = [
        {"limit": name, "rate": f"{peak.macs_per_s / 1e9:.1f} GMAC/s", "with": peak.graph}
        for name, peak in ceilings.peaks.items()
    ]
    rows.append(
        {
            "limit": "fp32, to compare",
            "rate": f"{ceilings.numpy_macs_per_s / 1e9:.1f} GMAC/s",
            "with": "numpy's matrix product, its own number of threads",
        }
    )
    rows += [
        {
            "limit": each.level,
            "rate": f"{each.bytes_per_s / 1e9:.1f} GB/s",
            "with": "STREAM's Add in numpy",
        }
        for each in ceilings.bandwidths
    ]
    if ceilings.noise.noisy:
        cores = ceilings.noise.other_cores
        rows.append(
            {"limit": "disturbed", "rate": "", "with": f"others used {cores or 0:.2f} cores"}
        )
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and measure; return the exit code."""
    return run_command(argv, RooflineConfig, roofline, prog=PROG)
