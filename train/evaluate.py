"""Evaluate a checkpoint in torch: ``python -m train.evaluate CHECKPOINT --data LIST...``.

The network runs in FP32 at the operating point that is stored beside it, or at one fitted anew on
``--validation``. ``--output`` writes the report that ``benchmarks.accuracy`` writes for artifacts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import tyro
from torch import nn

from benchmarks.assessment import Assessment, assess
from benchmarks.command import run_command, say
from benchmarks.environment import environment
from benchmarks.evaluation.report import (
    PAGE,
    Evaluated,
    check_report_packages,
    mistakes,
    write_evaluation,
)
from benchmarks.operating_point import PRECISION_FLOOR, LabelRule, fit_operating_point
from benchmarks.report import Report, headline
from runtime.errors import ConfigError
from runtime.staging import check_free, new_folder

from .checkpoint import Checkpoint, load_checkpoint
from .data import CropSet, load_crops
from .overlap import SeenData, overlap_warnings, seen_in_training
from .scoring import score

__all__ = ["EvaluateConfig", "main"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig:
    """Evaluate a checkpoint's float network.

    Raises:
        ConfigError: options of a fit without ``validation``, or a list named twice.
    """

    checkpoint: tyro.conf.Positional[Path]
    """Checkpoint folder."""
    data: tuple[Path, ...]
    """Labelled lists or trees; each is reported by itself."""
    validation: tuple[Path, ...] = ()
    """Lists to fit temperatures and thresholds on; else the checkpoint's own are used."""
    output: Path | None = None
    """New folder for report.html, report.md and result.json."""
    overwrite: bool = False
    """Replace the output folder."""
    precision: float | None = None
    """Precision floor of the fit on --validation; 0.999 if not given."""
    labels_by: Literal["f1", "precision"] | None = None
    """What the fit on --validation chooses the thresholds of labels heads for; f1 if not given."""
    labels_precision: float | None = None
    """Precision floor of every label with --labels-by precision; 0.95 if not given."""
    skip_bad: bool = False
    """Leave bad rows out instead of failing."""

    def __post_init__(self) -> None:
        fit_only = (self.precision, self.labels_by, self.labels_precision)
        if not self.validation and any(option is not None for option in fit_only):
            raise ConfigError(
                "--precision and --labels-... are aims of a fit; pass --validation to fit on"
            )
        if len(set(self.data)) != len(self.data):
            raise ConfigError(f"--data names a list twice: {[str(path) for path in self.data]}")
        _ = self.label_rule  # fails on a floor that cannot be

    @property
    def label_rule(self) -> LabelRule:
        """What the thresholds of labels heads are chosen for."""
        return LabelRule(by=self.labels_by or "f1", precision=self.labels_precision)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(argv, EvaluateConfig, _work, prog="python -m train.evaluate")


def _work(config: EvaluateConfig) -> int:
    if config.output is not None:
        check_free(config.output, overwrite=config.overwrite)
        check_report_packages()
    checkpoint = load_checkpoint(config.checkpoint)
    network = checkpoint.build()
    on_validation, seen = _fit(config, checkpoint, network)
    operating = on_validation.operating if on_validation else checkpoint.operating
    evaluated: list[Evaluated] = []
    warnings: list[str] = []
    for source in config.data:
        crops = _crops([source], checkpoint, config)
        warnings += overlap_warnings(source, crops.paths, crops.digest, seen)
        logits = score(network, crops)
        found = assess(
            checkpoint.schema, logits, crops.targets, operating, validation=on_validation
        )
        evaluated.append(
            Evaluated(name=str(source), found=found, targets=crops.targets, crops=crops.paths)
        )
    report = _report(config, evaluated, warnings)
    report.show()
    for warning in warnings:
        say(warning)
    if config.output is not None:
        with new_folder(config.output, overwrite=config.overwrite) as folder:
            write_evaluation(folder, report, evaluated)
        say(f"wrote {config.output}; look at {config.output / PAGE}")
    return 0


def _crops(sources: Sequence[Path], checkpoint: Checkpoint, config: EvaluateConfig) -> CropSet:
    return load_crops(sources, checkpoint.schema, checkpoint.input, skip_bad=config.skip_bad)


def _fit(
    config: EvaluateConfig, checkpoint: Checkpoint, network: nn.Module
) -> tuple[Assessment | None, Sequence[SeenData]]:
    """Return the validation samples at the point fitted on them, and what is no fair test."""
    if not config.validation:
        return None, seen_in_training(checkpoint.lineage, checkpoint.schema, validation=True)
    crops = _crops(config.validation, checkpoint, config)
    logits = score(network, crops)
    operating = fit_operating_point(
        checkpoint.schema,
        logits,
        crops.targets,
        precision_floor=PRECISION_FLOOR if config.precision is None else config.precision,
        labels=config.label_rule,
        fitted_on=f"{len(crops)} samples of {', '.join(map(str, config.validation))}",
    )
    seen = [
        *seen_in_training(checkpoint.lineage, checkpoint.schema, validation=False),
        SeenData.of_validation(crops.paths, crops.digest),
    ]
    return assess(checkpoint.schema, logits, crops.targets, operating), seen


def _report(
    config: EvaluateConfig, evaluated: Sequence[Evaluated], warnings: Sequence[str]
) -> Report:
    title = f"Evaluation of {config.checkpoint}"
    return Report(
        title=title,
        tables={title: headline({entry.name: entry.found.rows() for entry in evaluated})},
        data={
            "command": "train.evaluate",
            "config": asdict(config),
            "environment": environment(),
            "warnings": warnings,
            "data": {
                entry.name: {**entry.found.to_object(), "confident_mistakes": mistakes(entry)}
                for entry in evaluated
            },
        },
    )


if __name__ == "__main__":
    raise SystemExit(main())
