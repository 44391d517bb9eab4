"""Command ``python -m train.split``: one labelled set into train.tsv, val.tsv and test.tsv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isclose
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np

from benchmarks.arguments import POSITIONAL
from benchmarks.command import run_command, say
from benchmarks.labelled import bad_rows_error
from benchmarks.report import Rows, show_table, to_json
from runtime.errors import ConfigError, DataError
from runtime.schema import Schema
from runtime.staging import check_free, new_folder, write_text
from train.audit.coverage import HeadCoverage, cover
from train.audit.duplicates import Duplicates, Nearness, check_near, find_duplicates
from train.audit.survey import Survey, take_survey
from train.labels import resolve_schema
from train.lineage import lineage_entry

from .balance import class_rows, part_rows, to_object
from .files import check_pictures, read_tables, write_lists, write_tables
from .groups import Groups, group_crops
from .listed import listed_parts
from .parts import PARTS, Assignment, assign

__all__ = ["Split", "SplitConfig", "main", "split"]

PROG: Final = "python -m train.split"
_SHOWN_TORN: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitConfig:
    """Split labelled crops into training, validation and test lists such that nothing leaks.

    Samples with the same text, the same picture or nearly the same picture stay in one part.

    Raises:
        ConfigError: no source, shares that are not three shares of 1, or a bad --near.
    """

    data: Annotated[tuple[Path, ...], POSITIONAL]
    """Labelled lists, tables or trees: together one set."""
    output: Path
    """New folder for train.tsv, val.tsv, test.tsv and split.json."""
    schema: str
    """Schema that the labels must fit, as for train.fit. Its readings say which labels are texts:
    samples of one text stay together."""
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1)
    """Shares of training, validation and test data; a part of share 0 is not made."""
    seed: int = 0
    """Changes which groups go where."""
    like: tuple[Path, Path, Path] | None = None
    """Training, validation and test lists that exist, of the same picture files with whatever
    labels: pictures in them keep their part."""
    near: int | None = None
    """Bits of the 144-bit perceptual hash in which near duplicates may differ, at most 36; -1:
    exact ones alone; if not given, 18 for texts, which differ in shape, else 8."""
    skip_bad: bool = False
    """Leave bad rows out instead of failing."""
    overwrite: bool = False
    """Replace an existing OUTPUT."""

    def __post_init__(self) -> None:
        if not self.data:
            raise ConfigError("name at least one list, table or tree to split")
        # Written as "not within" so that a NaN, which compares false, also fails.
        if not (min(self.shares) >= 0 and isclose(sum(self.shares), 1, abs_tol=1e-6)):
            raise ConfigError(
                f"--shares must be three shares >= 0 that add up to 1, got {list(self.shares)}"
            )
        check_near(self.near)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Split:
    """What came out."""

    survey: Survey
    """N crops; its splits are the parts."""
    groups: Groups
    assignment: Assignment
    coverage: Sequence[HeadCoverage]

    @property
    def torn_rows(self) -> Rows:
        """The groups that existing lists have in several parts, a row for each of their crops."""
        return [
            {
                "group": str(number),
                "part": PARTS[self.assignment.part[crop]],
                "row": self.survey.rows[crop],
                "label": self.survey.texts[crop],
            }
            for number, group in enumerate(self.assignment.torn.tolist(), start=1)
            for crop in np.flatnonzero(self.groups.of == group).tolist()
        ]


def split(config: SplitConfig) -> Split:
    """Split as ``config`` says and write the folder.

    Raises:
        HeadlightError: anything that a user can mend.
    """
    check_free(config.output, overwrite=config.overwrite)
    tables = read_tables(config.data)
    schema = resolve_schema(config.schema, config.data)
    survey = _survey(config, schema)
    listed = listed_parts(survey.paths, config.like or (), schema)
    groups = group_crops(survey, _duplicates(config, survey))
    assignment = assign(groups, config.shares, config.seed, listed)
    _check_filled(assignment, config)
    survey = replace(survey, splits=PARTS, split=assignment.part)
    found = Split(survey=survey, groups=groups, assignment=assignment, coverage=cover(survey))
    with new_folder(config.output, overwrite=config.overwrite) as folder:
        if tables:
            write_tables(folder, survey, tables)
        else:
            write_lists(folder, survey)
        write_text(folder / "split.json", to_json(_to_object(config, found)))
    return found


def _survey(config: SplitConfig, schema: Schema) -> Survey:
    survey = take_survey({"data": config.data}, schema)
    for crops in survey.parts:
        if crops.bad_rows and not config.skip_bad:
            raise bad_rows_error(crops.source, crops.bad_rows, len(crops) + len(crops.bad_rows))
        if crops.bad_rows:
            count, first = len(crops.bad_rows), crops.bad_rows[0]
            say(f"{crops.source}: left out {count} bad rows; the first: {first}")
        if crops.note:
            say(f"{crops.source}: {crops.note}")
    check_pictures(survey.paths)
    return survey


def _duplicates(config: SplitConfig, survey: Survey) -> Duplicates:
    found = find_duplicates(survey, Nearness.chosen(survey.schema, config.near))
    if found.cut_off:
        raise DataError(
            "too many near duplicates to keep them all in one part; lower --near, or thin out "
            "pictures of standing scenes"
        )
    return found


def _check_filled(assignment: Assignment, config: SplitConfig) -> None:
    counts = np.bincount(assignment.part, minlength=len(PARTS))
    empty = [
        name
        for name, share, count in zip(PARTS, config.shares, counts, strict=True)
        if share > 0 and not count
    ]
    if empty:
        raise DataError(
            f"no sample for {', '.join(empty)}: {len(assignment.part)} samples are too few, or too "
            "many belong together; give more data, another --seed or a share of 0"
        )


def _to_object(config: SplitConfig, found: Split) -> Mapping[str, Any]:
    survey = found.survey
    return {
        "command": "train.split",
        **lineage_entry(config, {str(part.source): part.digest for part in survey.parts}),
        "samples": {name: int(survey.of_split(name).sum()) for name in PARTS},
        "groups": len(found.groups),
        "largest_group": int(np.bincount(found.groups.of).max()),
        "heads": to_object(found.coverage),
        "groups_in_several_parts": found.torn_rows,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(argv, SplitConfig, _work, prog=PROG, renewed=("like",))


def _work(config: SplitConfig) -> int:
    found = split(config)
    total, groups = len(found.survey), len(found.groups)
    title = f"{total} samples in {groups} groups that stay together"
    show_table(title, part_rows(found.assignment, found.groups, config.shares))
    show_table(
        "Class whose share is furthest from that in all data, percentage points",
        class_rows(found.coverage),
    )
    torn = found.torn_rows
    if torn:
        say(
            f"warning: {len(found.assignment.torn)} groups stand in several parts, because the "
            "lists of --like have them there: the parts leak, unless these only look alike; "
            "compare them, then mend the lists or lower --near"
        )
        show_table("Groups in several parts of --like", torn[:_SHOWN_TORN])
        if len(torn) > _SHOWN_TORN:
            print(f"... {len(torn) - _SHOWN_TORN} more in split.json")
    print(
        f"wrote {config.output}; next: python -m train.fit --data {config.output / 'train.tsv'} "
        f"--validation {config.output / 'val.tsv'} --help"
    )
    return 0
