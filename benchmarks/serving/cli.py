r"""Compare HTTP servers that read crops: requests per second, latency, processor time, memory.

::

    python -m benchmarks.serving ours=jpeg:http://127.0.0.1:8080/v1/read \
        peer=jpeg:http://127.0.0.1:8102/read --pids 4711 4712 --crops val.tsv

The servers run already, with the same artifact. They are asked by turns, in random order every
round, so that whatever slows the machine down slows all alike; ratios are of turns of the same
round, with 95 % bootstrap intervals. Only crops count to which all servers answer the same, and
every answer within the timed run is compared with that.

Exit codes: 0 done, 1 error, 2 usage.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np

from benchmarks.arguments import POSITIONAL
from benchmarks.command import run_command, say
from benchmarks.crops.unlabelled import unlabelled_rows
from benchmarks.environment import environment
from benchmarks.noise import Noise
from benchmarks.processes import pss_mb
from benchmarks.report import Report, Rows
from benchmarks.scenarios import Latency, Speedup
from runtime.errors import ConfigError
from runtime.manifest import Manifest
from runtime.staging import check_free

from .loads import Closed, Open, closed_loop, open_loop
from .subject import Server, Subject, agreed

__all__ = ["ServingConfig", "main", "measure_serving"]

PROG: Final = "python -m benchmarks.serving"
_MOST_CROPS: Final = 256
_LEAD: Final = (
    "Servers that run with the same artifact, asked by turns on kept connections; all answers are "
    "checked. Ratios are of turns of the same round, in brackets 95 % intervals; CPU is what the "
    "server's process took. Requests at random count from when they were to arrive."
)
_NOT_WATCHED: Final = Noise(None)
"""To this process the servers are others, so what others use says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingConfig:
    """Compare HTTP servers that read crops."""

    servers: Annotated[tuple[str, ...], POSITIONAL]
    """NAME=FORM:URL each, the first is what the others are compared with; FORM is jpeg, upload,
    pixels, kserve-jpeg or kserve-pixels."""
    crops: Path
    """Folder or list of JPEG crops, the first 256."""
    pids: tuple[int, ...] = ()
    """Processes of the servers, in their order, for processor time and memory."""
    artifact: Path | None = None
    """Artifact that they serve, for forms with pixels."""
    token_variable: str = ""
    """Environment variable with a token, sent to all."""
    connections: tuple[int, ...] = (1, 4)
    """Kept connections of the closed loop, each with a thread here."""
    rounds: int = 20
    """Of the closed loop; in each, every server has one turn."""
    turn: float = 0.4
    """Least seconds of a turn."""
    rates: tuple[float, ...] = ()
    """Requests per second of the open loop."""
    open_connections: int = 8
    """Kept connections of the open loop."""
    open_rounds: int = 3
    """Blocks per server and rate."""
    block: float = 4.0
    """Seconds of a block; a p99 is told from 662 requests on, all blocks together."""
    output: Path | None = None
    """New folder for result.json and report.md."""
    overwrite: bool = False
    """Replace the output folder."""

    def __post_init__(self) -> None:
        if self.pids and len(self.pids) != len(self.servers):
            raise ConfigError(f"{len(self.servers)} servers, but {len(self.pids)} --pids")
        if min((*self.connections, self.open_connections, self.open_rounds), default=1) < 1:
            raise ConfigError("--connections, --open-connections and --open-rounds must be >= 1")
        if not self.servers or not self.block > 0 or not all(rate > 0 for rate in self.rates):
            raise ConfigError("name at least one server; --block and --rates must be > 0")


def measure_serving(config: ServingConfig) -> int:
    """Run the command.

    Returns:
        The exit code.

    Raises:
        HeadlightError: anything that a user can mend.
    """
    if config.output is not None:
        check_free(config.output, overwrite=config.overwrite)
    servers = [Server.parse(text) for text in config.servers]
    names = [server.name for server in servers]
    if len(set(names)) < len(names):
        raise ConfigError(f"servers must have different names, got {names}")
    pids = dict(zip(names, config.pids, strict=True)) if config.pids else {}
    crops = _crops(config.crops)
    subjects = agreed(
        servers,
        crops,
        pids=pids,
        headers=_headers(config.token_variable),
        manifest=None if config.artifact is None else Manifest.load(config.artifact),
    )
    alike = len(subjects[0].requests)
    say(f"{alike} of {len(crops)} crops are answered alike by {', '.join(names)}")
    closed = [_closed(config, subjects, count) for count in config.connections]
    opened = [_open(config, subjects, rate) for rate in config.rates]
    memory = {name: pss_mb(pid) for name, pid in pids.items()}
    report = _report(config, (alike, len(crops)), closed, opened, memory)
    report.publish(config.output, overwrite=config.overwrite)
    return 0


def _crops(source: Path) -> Sequence[bytes]:
    pictures = unlabelled_rows(source).pictures
    return [pictures.content(index) for index in range(min(len(pictures), _MOST_CROPS))]


def _headers(variable: str) -> Mapping[str, str]:
    if not variable:
        return {}
    if not os.environ.get(variable):
        raise ConfigError(f"the environment variable {variable} with the token is not set")
    return {"Authorization": f"Bearer {os.environ[variable]}"}


def _closed(config: ServingConfig, subjects: Sequence[Subject], connections: int) -> Closed:
    seconds = len(subjects) * config.rounds * config.turn
    say(f"closed loop, {connections} connections: {seconds:.0f} s")
    return closed_loop(subjects, connections=connections, rounds=config.rounds, turn_s=config.turn)


def _open(config: ServingConfig, subjects: Sequence[Subject], rate: float) -> Open:
    say(f"{rate:g} requests/s: {len(subjects) * config.open_rounds * config.block:.0f} s")
    return open_loop(
        subjects,
        rate=rate,
        connections=config.open_connections,
        rounds=config.open_rounds,
        block_s=config.block,
    )


def _report(
    config: ServingConfig,
    alike: tuple[int, int],
    closed: Sequence[Closed],
    opened: Sequence[Open],
    memory: Mapping[str, float | None],
) -> Report:
    tables = {f"Closed loop, {_plural(each.connections)}": _closed_rows(each) for each in closed}
    tables |= {f"{each.rate:g} requests/s at random": _open_rows(each) for each in opened}
    if memory:
        tables["Memory"] = [
            {"server": name, "PSS, MB": "-" if size is None else f"{size:.1f}"}
            for name, size in memory.items()
        ]
    return Report(
        lead=_LEAD,
        title=f"HTTP servers on {alike[0]} crops of {alike[1]} that all answer alike",
        tables=tables,
        data={
            "command": "benchmarks.serving",
            "config": asdict(config),
            "environment": environment(),
            "crops": {"alike": alike[0], "asked": alike[1]},
            "closed_loop": [_closed_numbers(each) for each in closed],
            "open_loop": [_open_numbers(each) for each in opened],
            "pss_mb": memory,
        },
    )


def _plural(connections: int) -> str:
    return f"{connections} connection{'s' * (connections > 1)}"


def _closed_rows(run: Closed) -> Rows:
    reference = next(iter(run.rates.per_s))
    rows = []
    for name in run.rates.per_s:
        row = {
            "server": name,
            "requests/s": f"{run.rates.median(name):.0f}",
            f"of {reference}": _told(run.rates.ratio(name, reference)),
            **_percentiles(Latency(run.latency_ns[name], _NOT_WATCHED)),
        }
        ratio = run.cpu_ratio(name, reference)
        if ratio is not None:
            row["CPU/request, us"] = f"{np.median(run.cpu_us[name]):.0f}"
            row[f"CPU of {reference}"] = _told(ratio)
        rows.append(row)
    return rows


def _open_rows(run: Open) -> Rows:
    reference = next(iter(run.latency_ns))
    return [
        {
            "server": name,
            **_percentiles(Latency(latency, _NOT_WATCHED)),
            f"p50 of {reference}": _told(run.ratio(name, reference)),
            "requests": str(len(latency)),
            "given up": str(run.unanswered[name]),
        }
        for name, latency in run.latency_ns.items()
    ]


def _percentiles(latency: Latency) -> Mapping[str, str]:
    found = {name: latency.percentile_ms(q) for name, q in (("p50", 0.5), ("p99", 0.99))}
    return {f"{name}, ms": "-" if v is None else f"{v:.2f}" for name, v in found.items()}


def _told(ratio: Speedup) -> str:
    low, high = ratio.bounds(0.975)
    return f"{ratio.value:.2f} ({low:.2f} to {high:.2f})"


def _closed_numbers(run: Closed) -> Mapping[str, Any]:
    reference = next(iter(run.rates.per_s))
    return {
        "connections": run.connections,
        "servers": {
            name: {
                "requests_per_s": run.rates.per_s[name],
                "of_first": _ratio(run.rates.ratio(name, reference)),
                "latency": Latency(run.latency_ns[name], _NOT_WATCHED).to_object(),
                "cpu_us_per_request": run.cpu_us.get(name),
                "cpu_of_first": _ratio(run.cpu_ratio(name, reference)),
            }
            for name in run.rates.per_s
        },
    }


def _open_numbers(run: Open) -> Mapping[str, Any]:
    reference = next(iter(run.latency_ns))
    return {
        "requests_per_s": run.rate,
        "servers": {
            name: {
                "latency": Latency(latency, _NOT_WATCHED).to_object(),
                "p50_of_first": _ratio(run.ratio(name, reference)),
                "unanswered": run.unanswered[name],
            }
            for name, latency in run.latency_ns.items()
        },
    }


def _ratio(ratio: Speedup | None) -> Mapping[str, Any] | None:
    return None if ratio is None else {"value": ratio.value, "bounds": ratio.bounds(0.975)}


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and measure; return the exit code."""
    return run_command(argv, ServingConfig, measure_serving, prog=PROG)
