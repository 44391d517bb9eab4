"""Run a gateway for a while and say what it costs here: frames, drops, latency, CPU, memory.

::

    python -m benchmarks.gateway_load gateway.toml --minutes 10 --output results/gateway

The gateway runs as it would in the field, in a process of its own, from its own file; this command
looks at its status and at what the kernel says of its process, once a second. The file must have a
``[serve]`` whose status this command may read: on this machine, without a token.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np

from runtime.errors import ConfigError, EngineError
from runtime.staging import check_free, new_folder, scratch_folder

from .arguments import OUTPUT, POSITIONAL
from .command import run_command, say
from .environment import environment
from .processes import cpu_s, pss_mb
from .report import markdown_table

__all__ = ["GatewayLoadConfig", "main", "measure_gateway"]

PROG: Final = "python -m benchmarks.gateway_load"
_SERVING: Final = re.compile(r"serving at (\S+)")
_START_S: Final = 120.0
_END_S: Final = 30.0
_LOOK_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayLoadConfig:
    """Run a gateway for a while and say what it costs here.

    Raises:
        ConfigError: less than a tenth of a minute.
    """

    config: Annotated[Path, POSITIONAL]
    """gateway.toml"""
    minutes: float = 10.0
    """How long to look, after everything runs."""
    output: Annotated[Path | None, OUTPUT] = None
    """Folder for gateway.json and gateway.md."""

    def __post_init__(self) -> None:
        if self.minutes < 0.1:
            raise ConfigError(f"minutes must be >= 0.1, got {self.minutes}")


@dataclass(frozen=True, slots=True)
class _Sample:
    """One look."""

    at_s: float
    cpu_s: float
    """Processor time of the gateway so far."""
    pss_mb: float
    threads: int
    files: int
    """Open file descriptors."""


def measure_gateway(config: GatewayLoadConfig) -> int:
    """Run, look, and print and write what was seen.

    Raises:
        HeadlightError: the gateway does not start, or ends before its time.
    """
    if config.output is not None:
        check_free(config.output)
    with scratch_folder() as scratch:
        log = scratch / "log"  # a pipe that nobody reads would hold the gateway up
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", "runtime.gateway.app", str(config.config)], stderr=sink
            )
        try:
            url = _url(process, log)
            say(f"looking at {url} for {config.minutes:g} min")
            samples, first, last = _look(process, url, config.minutes * 60)
        finally:
            exit_code = _end(process)
    found = _found(samples, first, last)
    text = _markdown(found)
    print(text)
    if config.output is not None:
        record = {**found, "exit_code": exit_code, "environment": environment()}
        with new_folder(config.output) as folder:
            (folder / "gateway.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")
            (folder / "gateway.md").write_text(text + "\n", "utf-8")
    return 0


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    """Return where the gateway serves, once it does."""
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        over = process.poll() is not None
        text = log.read_text("utf-8", "replace")
        if found := _SERVING.search(text):
            return found.group(1)
        if over:
            break
        time.sleep(0.1)
    raise EngineError(f"the gateway does not serve: {text.strip()[-1000:]}")


def _end(process: subprocess.Popen[bytes]) -> int:
    """Ask the gateway to end, make sure that it does, and return its exit code."""
    process.terminate()
    try:
        return process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _status(url: str) -> Mapping[str, Any]:
    try:
        with urllib.request.urlopen(f"{url}/status.json", timeout=10) as answer:
            status: Mapping[str, Any] = json.load(answer)
    except (OSError, ValueError) as error:
        raise EngineError(
            f"{url}/status.json cannot be read: {error}; the gateway needs [serve], without a "
            "token, on this machine"
        ) from error
    return status


def _look(
    process: subprocess.Popen[bytes], url: str, seconds: float
) -> tuple[Sequence[_Sample], Mapping[str, Any], Mapping[str, Any]]:
    """Return what the process cost, and its status at the beginning and the end."""
    waited_s = time.monotonic() + _START_S
    while any(camera["state"] == "connecting" for camera in _status(url)["cameras"]):
        if time.monotonic() > waited_s:
            raise EngineError("not all cameras could be reached")
        time.sleep(_LOOK_S)
    first, samples = _status(url), [_sample(process.pid)]
    while samples[-1].at_s - samples[0].at_s < seconds:
        time.sleep(_LOOK_S)
        if process.poll() is not None:
            raise EngineError(f"the gateway ended with exit code {process.returncode}")
        samples.append(_sample(process.pid))
    return samples, first, _status(url)


def _sample(pid: int) -> _Sample:
    folder = Path("/proc") / str(pid)
    memory_mb = pss_mb(pid)
    if memory_mb is None:
        raise EngineError(f"the memory of the gateway, process {pid}, cannot be read; did it end?")
    return _Sample(
        at_s=time.monotonic(),
        cpu_s=cpu_s(pid),
        pss_mb=memory_mb,
        threads=len(list((folder / "task").iterdir())),
        files=len(list((folder / "fd").iterdir())),
    )


def _found(
    samples: Sequence[_Sample], first: Mapping[str, Any], last: Mapping[str, Any]
) -> dict[str, Any]:
    seconds = samples[-1].at_s - samples[0].at_s
    # The slope over the second half: the first may still fill caches.
    late = samples[len(samples) // 2 :]
    slope = np.polyfit([s.at_s for s in late], [s.pss_mb for s in late], 1)[0] if late[1:] else 0.0
    before = {part["camera"]: part for part in first["pipelines"]}
    cameras = {camera["name"]: camera for camera in last["cameras"]}
    earlier = {camera["name"]: camera for camera in first["cameras"]}
    rows = [
        {
            "camera": part["camera"],
            **{
                key: cameras[part["camera"]][key] - earlier[part["camera"]][key]
                for key in ("frames", "skipped", "corrupt", "reconnects")
            },
            **{
                key: part[key] - before[part["camera"]][key]
                for key in ("reads", "read_errors", "step_errors", "events", "accepted")
            },
            **{
                f"latency_{name}_ms": part["latency"][f"{name}_ns"] / 1e6
                if part["latency"]["count"]
                else None
                for name in ("p50", "p99", "max")
            },
            "told_while_seen": part["latency"]["count"],
        }
        for part in last["pipelines"]
    ]
    return {
        "seconds": round(seconds, 1),
        "cameras": rows,
        "reads_per_s": round(sum(row["reads"] for row in rows) / seconds, 2),
        "cores_used": round((samples[-1].cpu_s - samples[0].cpu_s) / seconds, 3),
        "pss_mb": {
            "start": round(samples[0].pss_mb, 1),
            "end": round(samples[-1].pss_mb, 1),
            "largest": round(max(s.pss_mb for s in samples), 1),
            "per_hour_late": round(float(slope) * 3600, 2),
        },
        "threads": [samples[0].threads, samples[-1].threads],
        "files": [samples[0].files, samples[-1].files],
        "engine": last["engine"],
        "artifact": last["artifact"],
        "sinks": last["sinks"],
    }


def _markdown(found: Mapping[str, Any]) -> str:
    columns = {
        "camera": "camera",
        "frames": "frames",
        "skipped": "dropped",
        "corrupt": "corrupt",
        "reads": "reads",
        "events": "vehicles told",
        "accepted": "accepted",
        "latency_p50_ms": "frame to event p50, ms",
        "latency_p99_ms": "p99, ms",
        "told_while_seen": "of events",
    }
    rows = [{title: _cell(row[key]) for key, title in columns.items()} for row in found["cameras"]]
    pss, threads, files = found["pss_mb"], found["threads"], found["files"]
    return (
        f"{markdown_table(rows)}\n{found['seconds']:g} s, {found['reads_per_s']:g} reads/s, "
        f"{found['cores_used']:g} cores, PSS {pss['start']:g} MB at the start and {pss['end']:g} "
        f"MB at the end, threads {threads[0]} and {threads[1]}, open files {files[0]} and "
        f"{files[1]}."
    )


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(argv, GatewayLoadConfig, measure_gateway, prog=PROG)


if __name__ == "__main__":
    raise SystemExit(main())
