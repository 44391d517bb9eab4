"""Measure what the reader adds to its engine, against a bare loop over the engine's own API.

By turns in one process, all on the same crops: the engine alone, input ready; the bare loop, which
also resizes; ``Reader.read``; the bare loop's work handed to a pool of threads, and
``Reader.submit``, one image per engine call; and batches, bare and through ``Reader.read_many``.
With one Python thread and with two. Every answer of the reader is checked. With ``--peers``, other
libraries run the same artifact, too. Then fresh processes: from their start to the first answer,
and the memory that they hold.

Exit codes: 0 done, 1 error, 2 usage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

from runtime.arrays import Image
from runtime.errors import ConfigError
from runtime.manifest import Manifest
from runtime.preprocess import fit_many
from runtime.queue import QueueOptions
from runtime.reader import Reader
from runtime.staging import check_free

from .arguments import POSITIONAL
from .bare import bare_engine, bare_loop, bare_pool, bare_resize, engine_alone
from .cold_start import ColdStarts, cold_starts
from .command import run_command, say
from .crops.unlabelled import unlabelled_rows
from .environment import environment
from .peers.model_api import ASYNC, SYNC, async_loop, open_adapter, sync_engine
from .rates import Rates, Way, interleaved_rates
from .reading import Known, Lists, Reads, Submits
from .report import Report, Rows
from .speed.footprint import ColdStartFinding

__all__ = ["OverheadConfig", "main", "measure_overhead"]

PROG: Final = "python -m benchmarks.overhead"
_MOST_CROPS: Final = 256
_AHEAD: Final = 8
"""Requests that are submitted and not yet answered, per lane."""
_ENGINE: Final = "engine alone"
_BARE: Final = "bare loop"
_POOL: Final = "bare, in a thread pool"
_BATCH: Final = "bare loop, batches"
_LEAD: Final = (
    "All ways of reading the same crops, by turns in one process. The bare loop resizes and calls "
    "the engine's own API, and neither checks, decodes nor counts; batches are compared with a "
    "bare loop of batches. The thread pool hands the bare loop's work to other threads, as submit "
    "does. In brackets 95 % intervals."
)
_REFERENCES: Final = {
    "read": _BARE, _POOL: _BARE, "submit": _BARE, "read_many": _BATCH, SYNC: _BARE, ASYNC: _BARE
}  # fmt: skip
"""Way to what it is compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverheadConfig:
    """Measure what the reader adds to its engine."""

    artifact: Annotated[Path, POSITIONAL]
    """Artifact folder, for ONNX Runtime, OpenVINO or TFLite."""
    data: Path
    """Folder or list of crops, the first 256."""
    threads: tuple[int, ...] = (1, 2)
    """Python threads that read at a time, each with one core for its engine calls."""
    batch: int = 16
    """Images per call of ``read_many``."""
    rounds: int = 40
    """In each, every way of reading has one turn."""
    turn: float = 0.15
    """Least seconds of a turn."""
    peers: bool = False
    """Measure openvino-model-api on the same artifact, where that is for OpenVINO."""
    cold_starts: int = 11
    """Fresh processes to time the first answer of; 0 skips it."""
    output: Path | None = None
    """New folder for result.json and report.md."""
    overwrite: bool = False
    """Replace the output folder."""

    def __post_init__(self) -> None:
        if not self.threads or min(*self.threads, self.batch) < 1 or self.cold_starts < 0:
            raise ConfigError("--threads and --batch must be >= 1, --cold-starts >= 0")


def measure_overhead(config: OverheadConfig) -> int:
    """Run the command.

    Returns:
        The exit code.

    Raises:
        HeadlightError: anything that a user can mend.
    """
    if config.output is not None:
        check_free(config.output, overwrite=config.overwrite)
    manifest = Manifest.load(config.artifact)
    pictures = unlabelled_rows(config.data).pictures
    crops = [pictures.read(index) for index in range(min(len(pictures), _MOST_CROPS))]
    if config.peers:
        _check_peers(config, manifest)
    rates, stages = {}, {}
    for threads in config.threads:
        ways = 9 if config.peers else 7
        say(f"{threads} thread{'s' * (threads > 1)}: {ways * config.rounds * config.turn:.0f} s")
        rates[threads], stages[threads] = _measure(config, manifest, crops, threads)
    cold = None
    if config.cold_starts:
        cold = cold_starts(
            config.artifact, runs=config.cold_starts, threads=1, image_shape=crops[0].shape[:2]
        )
    report = _report(config, manifest, rates, stages, cold)
    report.publish(
        config.output,
        overwrite=config.overwrite,
        hint="next: python -m benchmarks.latency ARTIFACT...",
    )
    return 0


def _measure(
    config: OverheadConfig, manifest: Manifest, crops: Sequence[Image], threads: int
) -> tuple[Rates, Mapping[str, float]]:
    """Return the rates of all ways, and the median stages of ``read`` in microseconds."""
    # One query at a time gets all of OpenVINO's threads, unless it is told to favour throughput.
    several = manifest.engine == "openvino" and threads > 1
    bare = partial(bare_engine, config.artifact, manifest, threads=threads)
    single, batches = bare(batch=1), bare(batch=config.batch)
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(threads))

        def reader(lanes: int, batch: int) -> Reader:
            opened = Reader.open(
                config.artifact,
                threads=threads if several else 1,
                hint="throughput" if several else "latency",
                max_batch=batch,
                queue=QueueOptions(lanes=lanes, capacity=_AHEAD * lanes),
            )
            return stack.enter_context(opened)

        one, many = reader(threads, 1), reader(1, config.batch)
        known = Known.of(many, crops)
        fitted = fit_many(known.crops, manifest.input)
        resizes = [bare_resize(crop, manifest.input) for crop in known.crops]
        reads = [Reads(one, known) for _ in range(threads)]
        ways = {
            _ENGINE: Way(workers=[engine_alone(single(), fitted) for _ in range(threads)]),
            _BARE: Way(workers=[bare_loop(single(), resizes, 1) for _ in range(threads)]),
            "read": _checked(reads),
            _POOL: Way(workers=[bare_pool(pool, single, resizes, _AHEAD * threads)]),
            "submit": _checked([Submits(one, known, _AHEAD * threads)]),
            _BATCH: Way(
                workers=[bare_loop(batches(), resizes, config.batch) for _ in range(threads)]
            ),
            "read_many": _checked([Lists(many, known, config.batch) for _ in range(threads)]),
            **(_peers(config, manifest, resizes, threads) if config.peers else {}),
        }
        rates = interleaved_rates(ways, rounds=config.rounds, turn_s=config.turn)
        return rates, reads[0].stages_us()


def _check_peers(config: OverheadConfig, manifest: Manifest) -> None:
    """Fail before anything is measured.

    Raises:
        ConfigError: they cannot run this artifact.
        MissingExtraError: they are not installed.
    """
    if manifest.engine != "openvino" or manifest.precision not in ("fp32", "int8"):
        raise ConfigError(
            f"--peers: openvino-model-api is compared on OpenVINO artifacts in fp32 or int8, "
            f"{config.artifact} is {manifest.engine}, {manifest.precision}; leave --peers out"
        )
    open_adapter(config.artifact / manifest.engine_file, (1, *manifest.input.shape), threads=1)


def _peers(
    config: OverheadConfig,
    manifest: Manifest,
    resizes: Sequence[Callable[[], Image]],
    threads: int,
) -> Mapping[str, Way]:
    """Return the ways of openvino-model-api; its synchronous one serves one thread only."""
    path, shape = config.artifact / manifest.engine_file, (1, *manifest.input.shape)
    queued = open_adapter(path, shape, threads=threads)
    ways = {ASYNC: Way(workers=[async_loop(queued, resizes)])}
    if threads == 1:
        engine = sync_engine(open_adapter(path, shape, threads=1))
        ways = {SYNC: Way(workers=[bare_loop(engine, resizes, 1)]), **ways}
    return ways


def _checked(workers: Sequence[Reads]) -> Way:
    return Way(workers=workers, checks=[worker.check for worker in workers])


def _report(
    config: OverheadConfig,
    manifest: Manifest,
    rates: Mapping[int, Rates],
    stages: Mapping[int, Mapping[str, float]],
    cold: ColdStarts | None,
) -> Report:
    tables = {
        f"Images per second, {threads} thread{'s' * (threads > 1)}": _rows(each)
        for threads, each in rates.items()
    }
    tables["What a read takes"] = [
        {
            "threads": str(threads),
            **{f"{stage}, us": f"{value:.0f}" for stage, value in stages[threads].items()},
            "more than the engine alone, us": f"{each.extra_us('read', _ENGINE):.0f}",
        }
        for threads, each in rates.items()
    ]
    if cold is not None:
        tables["Fresh processes"] = [ColdStartFinding(cold).rows()]
    return Report(
        title=f"What the reader adds to its engine: {manifest.id}",
        lead=_LEAD,
        tables=tables,
        data={
            "command": "benchmarks.overhead",
            "config": asdict(config),
            "environment": environment(),
            "artifact": {"id": manifest.id, "engine": manifest.engine},
            "threads": {
                threads: {**_numbers(each), "read_stages_us": stages[threads]}
                for threads, each in rates.items()
            },
            **(ColdStartFinding(cold).to_object() if cold is not None else {}),
        },
    )


def _rows(rates: Rates) -> Rows:
    rows = []
    for way in rates.per_s:
        row = {"way": way, "images/s": f"{rates.median(way):.0f}"}
        if way in _REFERENCES:
            ratio = rates.ratio(way, _REFERENCES[way])
            low, high = ratio.bounds(0.975)
            row["of the bare loop"] = f"{ratio.value:.1%} ({low:.1%} to {high:.1%})"
        rows.append(row)
    return rows


def _numbers(rates: Rates) -> Mapping[str, Any]:
    ratios = {
        way: rates.ratio(way, reference)
        for way, reference in _REFERENCES.items()
        if way in rates.per_s
    }
    return {
        "images_per_s": {way: rates.median(way) for way in rates.per_s},
        "of_bare_loop": {
            way: {"value": ratio.value, "bounds": ratio.bounds(0.975)}
            for way, ratio in ratios.items()
        },
        "read_more_than_engine_us": rates.extra_us("read", _ENGINE),
        **rates.noise.to_object(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and measure; return the exit code."""
    return run_command(argv, OverheadConfig, measure_overhead, prog=PROG)


if __name__ == "__main__":
    raise SystemExit(main())
