"""Compare our timings with those of OpenVINO's own tool, ``benchmark_app``, on the same graph.

By turns, the engine of an artifact is timed as ``benchmarks.latency`` times it (single-stream), and
``benchmark_app`` from the openvino package runs in a process of its own: the same file, reshaped
to the same batch, with the same threads, hint and precision. The tool takes two times: the median
of what the request itself says it took, and all calls over all of the time, which has Python's
share in it. Ours is the whole call with its answers copied out.

Exit codes: 0 done, 1 error, 2 usage.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np

from benchmarks.arguments import POSITIONAL
from benchmarks.command import run_command, say
from benchmarks.environment import environment
from benchmarks.noise import Noise, NoiseWatch
from benchmarks.report import Report, Rows
from benchmarks.scenarios import Turns, single_stream
from benchmarks.speed.subject import open_subject
from runtime.errors import ConfigError, EngineError
from runtime.manifest import Manifest
from runtime.schema import INPUT_NAME
from runtime.session_openvino import precision_hint
from runtime.staging import check_free, scratch_folder

__all__ = ["BenchmarkAppConfig", "VendorTimes", "main", "measure_with_vendor", "parse_times"]

PROG: Final = "python -m benchmarks.peers.benchmark_app"
# The tool's own module, so that it runs where its script is not on the path.
_CHILD: Final = """
from runtime.engine_imports import forbid_telemetry
forbid_telemetry()
from openvino.tools.benchmark.main import main
main()
"""
_PATIENCE_S: Final = 120
_MEDIAN: Final = re.compile(r"Median:\s+([\d.]+) (us|ms)")
_THROUGHPUT: Final = re.compile(r"Throughput:\s+([\d.]+) FPS")
_UNIT_MS: Final[Mapping[str, float]] = {"us": 1e-3, "ms": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkAppConfig:
    """Compare our timings with those of OpenVINO's benchmark_app.

    Raises:
        ConfigError: a number that cannot be.
    """

    artifact: Annotated[Path, POSITIONAL]
    """Artifact folder for OpenVINO."""
    threads: int = 1
    """Threads of the engine."""
    batch: int = 1
    """Images per call."""
    rounds: int = 5
    """In each, we measure and the tool measures."""
    seconds: int = 2
    """Of each turn."""
    output: Path | None = None
    """New folder for result.json and report.md."""
    overwrite: bool = False
    """Replace the output folder."""

    def __post_init__(self) -> None:
        if min(self.threads, self.batch, self.rounds, self.seconds) < 1:
            raise ConfigError("--threads, --batch, --rounds and --seconds must be >= 1")


@dataclass(frozen=True, slots=True)
class VendorTimes:
    """What a run of the tool, or one of ours, tells."""

    median_ms: float
    """Of a call."""
    images_per_s: float
    """All images over all of the time."""


def parse_times(text: str) -> VendorTimes:
    """Read what benchmark_app printed.

    Raises:
        EngineError: median or throughput are not there.
    """
    median, throughput = _MEDIAN.search(text), _THROUGHPUT.search(text)
    if median is None or throughput is None:
        last = " / ".join(text.strip().splitlines()[-3:])
        raise EngineError(
            f"benchmark_app told no median or no throughput; this version of openvino prints "
            f"them otherwise, or it failed: {last}"
        )
    return VendorTimes(float(median[1]) * _UNIT_MS[median[2]], float(throughput[1]))


def run_vendor(path: Path, manifest: Manifest, config: BenchmarkAppConfig) -> VendorTimes:
    """Run benchmark_app once.

    Args:
        path: The graph.
        manifest: Of its artifact.
        config: Threads, batch and seconds.

    Raises:
        ConfigError: the artifact computes in a precision that the tool is not told alike.
        EngineError: it failed.
    """
    shape = ",".join(map(str, (config.batch, *manifest.input.shape)))
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": str(config.threads),
        "INFERENCE_PRECISION_HINT": precision_hint(manifest.precision),
    }
    with scratch_folder() as folder:
        # As options, threads exclude a hint; in a file they do not.
        loaded = folder / "settings.json"
        loaded.write_text(json.dumps({"CPU": settings}), encoding="utf-8")
        command = [sys.executable, "-c", _CHILD, "-m", str(path.resolve()), "-d", "CPU"]
        command += ["-api", "sync", "-shape", f"{INPUT_NAME}[{shape}]"]
        command += ["-load_config", str(loaded), "-t", str(config.seconds)]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                timeout=config.seconds + _PATIENCE_S,
                cwd=Path(__file__).parents[2],
            )
        except subprocess.TimeoutExpired as error:
            raise EngineError(f"benchmark_app did not end within {error.timeout:.0f} s") from error
    if done.returncode:
        last = " / ".join((done.stdout + done.stderr).strip().splitlines()[-3:])
        raise EngineError(f"benchmark_app failed on {path}, code {done.returncode}: {last}")
    return parse_times(done.stdout)


def measure_with_vendor(config: BenchmarkAppConfig) -> int:
    """Run the command.

    Returns:
        The exit code.

    Raises:
        HeadlightError: anything that a user can mend.
    """
    if config.output is not None:
        check_free(config.output, overwrite=config.overwrite)
    manifest = Manifest.load(config.artifact)
    if manifest.engine != "openvino":
        raise ConfigError(
            f"{config.artifact} is for {manifest.engine}, {manifest.precision}; benchmark_app is "
            "compared on OpenVINO artifacts, made by `python -m export.openvino`"
        )
    path = config.artifact / manifest.engine_file
    say(f"{config.rounds} rounds of 2 x {config.seconds} s and the tool's start")
    own, vendor = list[VendorTimes](), list[VendorTimes]()
    watch = NoiseWatch()
    with open_subject(config.artifact, threads=config.threads, max_batch=config.batch) as subject:
        turns = Turns(subject.engine(config.batch))
        for _ in range(config.rounds):
            times = single_stream(turns, min_duration_s=config.seconds).queries_ns
            own.append(
                VendorTimes(float(np.median(times)) / 1e6, config.batch * 1e9 / float(times.mean()))
            )
            vendor.append(run_vendor(path, manifest, config))
    report = _report(config, manifest, own, vendor, watch.read())
    report.publish(
        config.output,
        overwrite=config.overwrite,
        hint="next: python -m benchmarks.overhead ARTIFACT --data LIST",
    )
    return 0


def _report(
    config: BenchmarkAppConfig,
    manifest: Manifest,
    own: Sequence[VendorTimes],
    vendor: Sequence[VendorTimes],
    noise: Noise,
) -> Report:
    told = {
        "benchmark_app": [(each.median_ms, each.images_per_s) for each in vendor],
        "benchmarks.latency": [(each.median_ms, each.images_per_s) for each in own],
    }
    medians = {name: np.median(np.array(pairs), axis=0) for name, pairs in told.items()}
    apart = [
        np.array(
            [getattr(a, name) / getattr(b, name) - 1 for a, b in zip(own, vendor, strict=True)]
        )
        for name in ("median_ms", "images_per_s")
    ]
    rows: Rows = [
        *(
            {"tool": name, "median, ms": f"{ms:.4f}", "images/s": f"{rate:.0f}"}
            for name, (ms, rate) in medians.items()
        ),
        {
            "tool": "ours against the vendor's, by rounds",
            "median, ms": _spread(apart[0]),
            "images/s": _spread(apart[1]),
        },
    ]
    noisy = f", NOISY: others used {noise.other_cores or 0:.2f} cores" if noise.noisy else ""
    title = f"{manifest.id}, {config.threads} threads, batch {config.batch}{noisy}"
    return Report(
        title="Our timings and OpenVINO's benchmark_app",
        tables={title: rows},
        data={
            "command": "benchmarks.peers.benchmark_app",
            "config": asdict(config),
            "environment": environment(),
            "artifact": {"id": manifest.id, "engine": manifest.engine},
            "ours": [asdict(each) for each in own],
            "benchmark_app": [asdict(each) for each in vendor],
            "difference": {
                "median_ms": [float(value) for value in apart[0]],
                "images_per_s": [float(value) for value in apart[1]],
            },
            **noise.to_object(),
        },
    )


def _spread(shares: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    return f"{np.median(shares):+.1%} ({shares.min():+.1%} to {shares.max():+.1%})"


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and measure; return the exit code."""
    return run_command(argv, BenchmarkAppConfig, measure_with_vendor, prog=PROG)


if __name__ == "__main__":
    raise SystemExit(main())
