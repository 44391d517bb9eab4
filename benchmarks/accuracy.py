"""Measure how right artifacts are on labelled crops, and judge them by a budget.

The artifact's engine runs over the list through the runtime's own preprocessing and decoding.
Thresholds come from the artifact, or are fitted anew on ``--validation``; never on ``--data``. With
several artifacts the first is the reference that the others are compared with, sample by sample.

Exit codes: 0 done and every limit kept, 1 error or a limit broken, 2 usage, 3 inconclusive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from runtime.errors import ConfigError
from runtime.manifest import Manifest
from runtime.schema import Schema
from runtime.staging import check_free, new_folder

from .arguments import POSITIONAL, artifact_names
from .assessment import ACCEPTED_METRICS, Assessment, Difference, assess, check_named, difference
from .budget import RELATIVE_FAMILIES, Limit, Outcome, Verdict, exit_code, judge
from .budget_file import limits_for
from .command import run_command, say
from .environment import device, environment
from .evaluation.examples import flip_examples
from .evaluation.report import (
    PAGE,
    Evaluated,
    check_report_packages,
    mistakes,
    write_evaluation,
)
from .labelled import LabelledCrops, read_labelled
from .operating_point import PRECISION_FLOOR, LabelRule, fit_operating_point
from .report import Report, headline
from .scoring import (
    check_apart,
    common_schema,
    load_manifest,
    model_facts,
    open_engine,
    origin,
    score_crops,
)

__all__ = ["AccuracyConfig", "main", "measure_accuracy"]

PROG: Final = "python -m benchmarks.accuracy"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyConfig:
    """Measure how right artifacts are on labelled crops."""

    artifacts: Annotated[tuple[Path, ...], POSITIONAL]
    """Artifact folders, or descriptions of bare models; the first is the reference."""
    data: Path
    """List or folder of labelled crops to judge on."""
    validation: Path | None = None
    """List or folder to fit temperatures and thresholds on; else the artifact's own are used."""
    budget: Path | None = None
    """Limits (docs/budgets.md) to judge by."""
    output: Path | None = None
    """New folder for report.html, report.md, result.json and, with a budget, junit.xml."""
    overwrite: bool = False
    """Replace the output folder."""
    plain: bool = False
    """Write tables and numbers only: no page, no pictures, no packages that draw them."""
    precision: float | None = None
    """Precision floor of the fit on --validation; 0.999 if not given."""
    labels_by: Literal["f1", "precision"] | None = None
    """What the fit on --validation chooses the thresholds of labels heads for; f1 if not given."""
    labels_precision: float | None = None
    """Precision floor of every label with --labels-by precision; 0.95 if not given."""
    skip_bad: bool = False
    """Leave unreadable or wrongly labelled rows out instead of failing."""
    threads: int = 1
    """Threads of the engine."""
    batch: int = 32
    """Crops per engine call."""

    def __post_init__(self) -> None:
        fit_only = (self.precision, self.labels_by, self.labels_precision)
        if self.validation is None and any(option is not None for option in fit_only):
            raise ConfigError(
                "--precision and --labels-... are aims of a fit; pass --validation to fit on"
            )
        _ = self.label_rule  # fails on a floor that cannot be

    @property
    def label_rule(self) -> LabelRule:
        """What the thresholds of labels heads are chosen for."""
        return LabelRule(by=self.labels_by or "f1", precision=self.labels_precision)


def measure_accuracy(config: AccuracyConfig) -> int:
    """Run the command.

    Returns:
        The exit code.

    Raises:
        HeadlightError: anything that a user can mend.
    """
    names = artifact_names(config.artifacts)
    if config.output is not None:
        check_free(config.output, overwrite=config.overwrite)
        if not config.plain:
            check_report_packages()
    limits = limits_for(config.budget, device(), "benchmarks.accuracy")
    folders = dict(zip(names, config.artifacts, strict=True))
    manifests = {name: load_manifest(folder) for name, folder in folders.items()}
    schema = common_schema(manifests)
    check_named(limits, schema)
    data = read_labelled(config.data, schema, skip_bad=config.skip_bad)
    if data.note:
        say(f"{config.data}: {data.note}")
    if data.bad_rows:
        say(f"left out {len(data.bad_rows)} rows of {config.data} that cannot be used")
    validation = _read_validation(config, schema, data)
    evaluated = []
    for name, folder in folders.items():
        say(f"{name}: scoring {len(data)} crops of {config.data}")
        found = _assess(folder, data, validation, config)
        evaluated.append(Evaluated(name=name, found=found, targets=data.targets, crops=data.paths))
    report = _report(config, manifests, data, evaluated, limits)
    report.show()
    if config.output is not None:
        with new_folder(config.output, overwrite=config.overwrite) as place:
            if config.plain:
                report.write(place)
            else:
                write_evaluation(place, report, evaluated)
        look = "" if config.plain else f"look at {config.output / PAGE}; "
        say(f"wrote {config.output}; {look}next: python -m benchmarks.latency ARTIFACT...")
    return exit_code([verdict for verdicts in report.verdicts.values() for verdict in verdicts])


def _read_validation(
    config: AccuracyConfig, schema: Schema, data: LabelledCrops
) -> LabelledCrops | None:
    if config.validation is None:
        return None
    validation = read_labelled(config.validation, schema, skip_bad=config.skip_bad)
    check_apart(validation, data)
    return validation


def _assess(
    folder: Path, data: LabelledCrops, validation: LabelledCrops | None, config: AccuracyConfig
) -> Assessment:
    schema = data.schema
    with open_engine(folder, threads=config.threads) as (manifest, session):
        operating, on_validation = manifest.operating, None
        if validation is not None:
            logits = score_crops(session, manifest.input, validation, batch=config.batch)
            operating = fit_operating_point(
                schema,
                logits,
                validation.targets,
                precision_floor=PRECISION_FLOOR if config.precision is None else config.precision,
                labels=config.label_rule,
                fitted_on=origin(validation),
            )
            on_validation = assess(schema, logits, validation.targets, operating)
        logits = score_crops(session, manifest.input, data, batch=config.batch)
    return assess(schema, logits, data.targets, operating, validation=on_validation)


def _report(
    config: AccuracyConfig,
    manifests: Mapping[str, Manifest],
    data: LabelledCrops,
    evaluated: Sequence[Evaluated],
    limits: Sequence[Limit],
) -> Report:
    columns, verdicts, entries = {}, {}, {}
    first, judged_on = evaluated[0], data.short_digest  # hashed anew whenever it is asked for
    for entry in evaluated:
        name, found, manifest = entry.name, entry.found, manifests[entry.name]
        against = difference(first.found, found) if entry is not first else None
        column = {"engine": manifest.engine, "precision": manifest.precision, **found.rows()}
        fitted_here = judged_on in (found.operating.fitted_on or "")
        if fitted_here:
            column["thresholds"] = "fitted on these very crops"
            say(f"note: the thresholds of {name} were fitted on these very crops")
        columns[name] = {**column, **(against.rows() if against else {})}
        measured = found.measurements() + (against.measurements() if against else [])
        # The reference of several artifacts has no flips or drop to be judged by.
        own = limits if against or len(evaluated) == 1 else _absolute(limits)
        if own:
            found_out = judge(measured, own)
            verdicts[name] = [_unproven(each) for each in found_out] if fitted_here else found_out
        entries[name] = {
            "id": manifest.id,
            "about": model_facts(manifest),
            "thresholds_fitted_here": fitted_here,
            **found.to_object(),
            "confident_mistakes": mistakes(entry),
            "versus_first": against.to_object() if against else None,
            "flip_examples": _flips(first, entry, against),
        }
    return Report(
        title=f"Accuracy on {config.data}",
        tables={f"Accuracy on {config.data}": headline(columns)},
        data={
            "command": "benchmarks.accuracy",
            "config": asdict(config),
            "environment": environment(),
            "data": {"origin": origin(data), "rows_left_out": data.bad_rows},
            "artifacts": entries,
        },
        verdicts=verdicts,
    )


def _flips(
    first: Evaluated, entry: Evaluated, against: Difference | None
) -> Sequence[Mapping[str, Any]]:
    if against is None:
        return []
    where = against.flips.where.tolist()
    return flip_examples(first.found, entry.found, entry.targets, entry.crops, where)


def _unproven(verdict: Verdict) -> Verdict:
    """Return what remains of a verdict where thresholds were fitted on the crops that judge it."""
    if verdict.limit.metric not in ACCEPTED_METRICS or verdict.outcome is not Outcome.PASS:
        return verdict
    reason = (
        f"{verdict.reason}, but the thresholds were fitted on these very crops; judge on others, "
        "or name others as --validation"
    )
    return replace(verdict, outcome=Outcome.INCONCLUSIVE, reason=reason)


def _absolute(limits: Sequence[Limit]) -> Sequence[Limit]:
    return [limit for limit in limits if limit.family not in RELATIVE_FAMILIES]


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and measure; return the exit code."""
    return run_command(argv, AccuracyConfig, measure_accuracy, prog=PROG)


if __name__ == "__main__":
    raise SystemExit(main())
