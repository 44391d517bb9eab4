"""Checkpoints and engines side by side: accuracy on test lists, size, and latency in one run.

``python -m export.scoreboard --baseline BASE --checkpoints SLIM --artifacts A B --data TEST...``

The baseline is what every speedup is against: torch, eager, FP32, one thread, batch 1. Engines and
networks are timed by turns in one process, so that a slow moment of the machine hits all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.arguments import artifact_names, names_apart
from benchmarks.assessment import Assessment, assess, difference
from benchmarks.command import run_command, say
from benchmarks.environment import environment
from benchmarks.intervals import min_queries
from benchmarks.operating_point import fit_operating_point
from benchmarks.report import markdown_table, show_table, to_json
from benchmarks.scenarios import compare_interleaved, single_stream
from benchmarks.scoring import open_engine
from runtime.arrays import Images, Logits
from runtime.errors import ConfigError
from runtime.manifest import GOLDEN_FILE
from runtime.schema import Schema
from runtime.scores import OperatingPoint
from runtime.staging import check_free, new_folder
from train.checkpoint import load_checkpoint
from train.data import CropSet, load_crops
from train.scoring import score

__all__ = ["ScoreboardConfig", "main", "run_alone"]

_READ_AHEAD = 64
"""Crops in memory; they are scored one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreboardConfig:
    """Compare artifacts with the checkpoint that they came from."""

    baseline: Path
    """Unslimmed checkpoint: the first row, and what speedups are against."""
    checkpoints: tuple[Path, ...] = ()
    """Further checkpoints, run in torch."""
    artifacts: tuple[Path, ...] = ()
    """Artifact folders."""
    data: tuple[Path, ...]
    """Test lists; each gets columns of its own."""
    validation: tuple[Path, ...]
    """Validation lists: temperatures and thresholds of every row are fitted on these."""
    output: Path
    """Folder to make: scoreboard.md and scoreboard.json."""
    rounds: int = 60
    """Turns of the interleaved timing."""
    overwrite: bool = False
    """Replace an existing OUTPUT."""

    def __post_init__(self) -> None:
        if not self.data or not self.validation:
            raise ConfigError("--data and --validation need a list each")


@dataclass(slots=True)
class _Row:
    """One network in one engine."""

    name: str
    run: Callable[[Images], Logits]
    size_bytes: int
    parameters: int | None
    found: dict[str, Assessment] = field(default_factory=dict)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(argv, ScoreboardConfig, _work, prog="python -m export.scoreboard")


def _work(config: ScoreboardConfig) -> int:
    check_free(config.output, overwrite=config.overwrite)
    began = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    torch.set_num_threads(1)
    base = load_checkpoint(config.baseline)
    schema, spec = base.schema, base.input
    validation = load_crops(config.validation, schema, spec)
    tests = {str(source): load_crops([source], schema, spec) for source in config.data}
    with ExitStack() as stack:
        networks = (config.baseline, *config.checkpoints)
        names = artifact_names(networks)
        rows = [_torch_row(*named, schema) for named in zip(names, networks, strict=True)]
        names = artifact_names(config.artifacts) if config.artifacts else ()
        for name, path in zip(names, config.artifacts, strict=True):
            manifest, session = stack.enter_context(open_engine(path))
            if manifest.schema != schema or manifest.input != spec:
                raise ConfigError(f"{path} has another schema or input than {config.baseline}")
            size = sum(
                record.size_bytes for file, record in manifest.files.items() if file != GOLDEN_FILE
            )
            rows.append(_Row(name, session.run, size, None))
        for row in rows:
            say(f"reading with {row.name}")
            operating = _fit(schema, row, validation)
            row.found = {
                name: assess(schema, run_alone(row.run, crops), crops.targets, operating)
                for name, crops in tests.items()
            }
        say("timing")
        image = next(iter(tests.values())).images_at(np.zeros(1, np.int64))
        timing = _time(rows, image, config.rounds)
    table = [_cells(row, rows[0], timing) for row in rows]
    show_table(f"batch 1, one thread, {began}", table)
    _write(config, began, table, rows, timing)
    print(f"wrote {config.output}")
    return 0


def _columns(sources: Sequence[str]) -> Sequence[str]:
    """Return what each test list is called: two parts of its path, more where two are alike."""
    paths = [Path(source) for source in sources]
    bare = [path.with_suffix("") for path in paths]
    return [*names_apart(bare if len({*bare}) == len(bare) else paths, least=2)]


def _torch_row(name: str, path: Path, schema: Schema) -> _Row:
    checkpoint = load_checkpoint(path)
    checkpoint.require_schema(schema)
    network = checkpoint.build()

    def run(images: Images) -> Logits:
        return score(network, images)

    count = sum(parameter.numel() for parameter in network.parameters())
    size = (path / "weights.safetensors").stat().st_size
    return _Row(f"{name} (torch eager fp32)", run, size, count)


def run_alone(run: Callable[[Images], Logits], crops: CropSet) -> Logits:
    """Score all crops in order, one a call."""
    parts = [
        run(images[i : i + 1])
        for images in crops.image_batches(_READ_AHEAD)
        for i in range(len(images))
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _fit(schema: Schema, row: _Row, validation: CropSet) -> OperatingPoint:
    return fit_operating_point(
        schema,
        run_alone(row.run, validation),
        validation.targets,
    )


def _time(rows: Sequence[_Row], image: Images, rounds: int) -> Mapping[str, Any]:
    """Ratios from turns, percentiles from a stream of each."""
    queries = {row.name: (lambda run=row.run: run(image)) for row in rows}
    comparison = compare_interleaved(queries, rounds=rounds) if len(rows) > 1 else None
    streams = {
        name: single_stream(query, min_queries=min_queries(0.99)) for name, query in queries.items()
    }
    return {
        "interleaved": comparison.to_object() if comparison else None,
        "single_stream": {name: stream.to_object() for name, stream in streams.items()},
    }


def _cells(row: _Row, first: _Row, timing: Mapping[str, Any]) -> Mapping[str, str]:
    cells = {"network": row.name}
    if row.parameters is not None:
        cells["parameters"] = f"{row.parameters / 1e6:.2f} M"
    for (source, found), name in zip(row.found.items(), _columns([*row.found]), strict=True):
        cells[f"exact {name}"] = f"{found.metrics.exact.value:.4f}"
        if found.accepted is not None:
            cells[f"recall@99.9 % {name}"] = f"{found.accepted.recall.value:.4f}"
        if row is not first:
            changed = difference(first.found[source], found).flips.share
            cells[f"flips {name}"] = f"{changed.value:.4f}"
    cells["MB"] = f"{row.size_bytes / 1e6:.2f}"
    stream = timing["single_stream"][row.name]["percentiles_ms"]
    for quantile in ("p50", "p99"):
        value = stream[quantile]
        cells[f"{quantile} ms"] = "-" if value is None else f"{value:.3f}"
    if timing["interleaved"]:
        cells["speedup"] = f"{timing['interleaved']['speedups'][row.name]['value']:.1f}x"
    return cells


def _write(
    config: ScoreboardConfig,
    began: str,
    table: Sequence[Mapping[str, str]],
    rows: Sequence[_Row],
    timing: Mapping[str, Any],
) -> None:
    here = environment()
    report = {
        "measured": began,
        "environment": here,
        "table": table,
        "rows": {
            row.name: {
                name: {**found.rows(), "operating": found.operating.to_object()}
                for name, found in row.found.items()
            }
            for row in rows
        },
        "timing": timing,
    }
    device = here["device"]
    text = (
        f"Measured {began} on {device['cpu']}, {device['cores']} cores; batch 1, one thread; "
        "speedups against the first row, interleaved in one process.\n\n"
        f"{markdown_table(table)}"
    )
    with new_folder(config.output, overwrite=config.overwrite) as folder:
        (folder / "scoreboard.md").write_text(text, encoding="utf-8")
        (folder / "scoreboard.json").write_text(to_json(report), encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
