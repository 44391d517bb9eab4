"""Evaluate a checkpoint in torch: ``python -m train.evaluate CHECKPOINT --data LIST...``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.assessment import assess
from benchmarks.command import run_command
from benchmarks.report import headline, show_table, to_json
from runtime.staging import write_text

from .checkpoint import load_checkpoint
from .data import load_crops
from .scoring import score

__all__ = ["EvaluateConfig", "main"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig:
    """Evaluate a checkpoint's float network with the operating point stored beside it."""

    checkpoint: tyro.conf.Positional[Path]
    """Checkpoint folder."""
    data: tuple[Path, ...]
    """Labelled lists or trees; each is reported by itself."""
    output: Path | None = None
    """JSON file to write, with every figure per head and label."""
    skip_bad: bool = False
    """Leave bad rows out instead of failing."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(argv, EvaluateConfig, _work, prog="python -m train.evaluate")


def _work(config: EvaluateConfig) -> int:
    checkpoint = load_checkpoint(config.checkpoint)
    network = checkpoint.build()
    columns, report = {}, {}
    for source in config.data:
        crops = load_crops([source], checkpoint.schema, checkpoint.input, skip_bad=config.skip_bad)
        logits = score(network, crops.images)
        found = assess(checkpoint.schema, logits, crops.targets, checkpoint.operating)
        columns[str(source)], report[str(source)] = found.rows(), found.to_object()
    show_table(str(config.checkpoint), headline(columns))
    if config.output is not None:
        config.output.parent.mkdir(parents=True, exist_ok=True)
        write_text(config.output, to_json(report))
        print(f"wrote {config.output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
