"""Command ``python -m train.audit``: what is wrong with labelled crops, before training on them.

Exit codes: 0 audited, whatever was found; 1 error, or with ``--strict`` leakage or rows that
cannot be used; 2 usage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from benchmarks.arguments import POSITIONAL
from benchmarks.command import run_command, say
from benchmarks.page import check_jinja
from benchmarks.report import show_table, to_json
from runtime.errors import ConfigError
from runtime.schema import Schema
from runtime.staging import check_free, new_folder, write_text
from train.labels import resolve_schema

from .coverage import cover
from .duplicates import Nearness, check_near, find_duplicates, shared_readings
from .findings import Findings
from .label_issues import check_cleanlab
from .lists import read_excluded, write_lists, write_suspects
from .pages import audit_page, problem_rows
from .pictures import exposure
from .sizes import measure_sizes
from .survey import Survey, take_survey

if TYPE_CHECKING:
    from train.checkpoint import Checkpoint

__all__ = ["AuditConfig", "audit", "main"]

PROG: Final = "python -m train.audit"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditConfig:
    """Report what is wrong with labelled crops before training on them.

    Raises:
        ConfigError: no source, neither a schema nor a checkpoint, or a number out of range.
    """

    data: Annotated[tuple[Path, ...], POSITIONAL]
    """Training lists or trees."""
    validation: tuple[Path, ...] = ()
    """Validation lists or trees, to look for leakage."""
    test: tuple[Path, ...] = ()
    """Test lists or trees, to look for leakage."""
    schema: str | None = None
    """Built-in schema, JSON file, or derive:labels / derive:colour,garment from the labels; that
    of the checkpoint if not given."""
    checkpoint: Path | None = None
    """Checkpoint whose scores name the labels that are probably wrong. Best one that was not
    trained on these crops."""
    output: Path
    """New folder for audit.html, audit.json, suspects.tsv and lists/."""
    imgsz: tuple[int, int] | None = None
    """Height and width of the network's input, px, to compare sizes with; the checkpoint's if not
    given."""
    near: int | None = None
    """Bits of the 144-bit perceptual hash in which near duplicates may differ, at most 36; -1:
    exact ones alone; if not given, 18 for texts, which differ in shape, else 8."""
    exclude: Path | None = None
    """An edited suspects.tsv: its rows are left out of the audit and of the lists it writes."""
    strict: bool = False
    """Exit with 1 where splits leak or rows cannot be used."""
    overwrite: bool = False
    """Replace an existing OUTPUT."""

    def __post_init__(self) -> None:
        if not self.data:
            raise ConfigError("name at least one list or tree of training crops")
        if self.schema is None and self.checkpoint is None:
            raise ConfigError("pass --schema, or a --checkpoint that has one")
        check_near(self.near)
        if self.imgsz is not None and min(self.imgsz) < 1:
            raise ConfigError(f"--imgsz must be positive, got {self.imgsz}")


def audit(config: AuditConfig) -> Findings:
    """Audit as ``config`` says and write the folder.

    Raises:
        HeadlightError: anything that a user can mend.
    """
    check_free(config.output, overwrite=config.overwrite)
    check_jinja()
    checkpoint = _checkpoint(config)
    exclude = read_excluded(config.exclude) if config.exclude else ()
    schema = _schema(config, checkpoint)
    sources = {"train": config.data, "validation": config.validation, "test": config.test}
    survey = take_survey(sources, schema, exclude)
    findings = _look(config, survey, checkpoint)
    with new_folder(config.output, overwrite=config.overwrite) as folder:
        missing = write_lists(folder / "lists", survey, findings.suspects or ())
        for name, why in missing.items():
            if why is not None:
                say(f"no list of {name}: path and label cannot say it all ({why})")
        if findings.suspects is not None:
            write_suspects(folder / "suspects.tsv", survey, findings.suspects)
        write_text(folder / "audit.json", to_json(findings.to_object()))
        title = f"Audit of {', '.join(map(str, config.data))}"
        write_text(folder / "audit.html", audit_page(findings, title))
    return findings


def _checkpoint(config: AuditConfig) -> Checkpoint | None:
    if config.checkpoint is None:
        return None
    check_cleanlab()
    from train.checkpoint import load_checkpoint  # torch

    return load_checkpoint(config.checkpoint)


def _schema(config: AuditConfig, checkpoint: Checkpoint | None) -> Schema:
    if config.schema is None:
        assert checkpoint is not None  # AuditConfig asks for one of the two
        return checkpoint.schema
    schema = resolve_schema(config.schema, (*config.data, *config.validation, *config.test))
    if checkpoint is not None:
        checkpoint.require_schema(schema)
    return schema


def _look(config: AuditConfig, survey: Survey, checkpoint: Checkpoint | None) -> Findings:
    imgsz, suspects = config.imgsz, None
    duplicates = find_duplicates(survey, Nearness.chosen(survey.schema, config.near))
    notes = [f"{part.source}: {part.note}" for part in survey.parts if part.note]
    if config.exclude is not None:
        notes.append(f"{survey.excluded} crops left out, as {config.exclude} says")
    if duplicates.cut_off:
        notes.append("Too many near duplicates to list: the search stopped early; lower --near")
    if checkpoint is not None:
        from .suspects import suspects_of, trained_on

        imgsz = imgsz or (checkpoint.input.height, checkpoint.input.width)
        suspects = suspects_of(checkpoint, survey)
        sources = (*config.data, *config.validation, *config.test)
        notes += [
            f"{source} was training data of {checkpoint.folder}, which may have learnt its wrong "
            "labels: fewer of them are found"
            for source in trained_on(checkpoint, sources)
        ]
    return Findings(
        survey=survey,
        duplicates=duplicates,
        readings=shared_readings(survey),
        coverage=cover(survey),
        sizes=measure_sizes(survey, imgsz),
        exposure=exposure(survey.facts),
        suspects=suspects,
        notes=notes,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(argv, AuditConfig, _work, prog=PROG)


def _work(config: AuditConfig) -> int:
    findings = audit(config)
    for note in findings.notes:
        say(note)
    show_table(f"{len(findings.survey)} usable crops", problem_rows(findings))
    total = sum(findings.problems.values())
    print(f"wrote {config.output}: {total} problems; next: open {config.output / 'audit.html'}")
    return int(config.strict and findings.strict_failures > 0)
