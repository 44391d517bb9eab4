"""The parts as files, in the form that the source had: a table stays one with all its columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.crops.pictures import Pictures
from benchmarks.crops.shards import shards_of
from benchmarks.crops.tables import Header, find_header, write_cells, written_cells
from benchmarks.labelled import list_file
from runtime.errors import DataError
from train.audit.lists import unlistable, write_list
from train.audit.survey import Survey

__all__ = ["Table", "check_pictures", "read_tables", "write_lists", "write_tables"]


@dataclass(frozen=True, slots=True)
class Table:
    """A source that is a table with a header."""

    file: Path
    header: Header

    @property
    def labels(self) -> Sequence[str]:
        """All columns but the one with the paths."""
        return [name for place, name in enumerate(self.header.columns) if place != self.header.path]


def read_tables(sources: Sequence[Path]) -> Sequence[Table]:
    """Return the tables that the sources are; none if all are lists and trees.

    Raises:
        DataError: sources that cannot be written into one list or one table.
    """
    for source in sources:
        if shards_of(source) is not None:
            raise DataError(
                f"{source}: tar shards are not split; split the list that they were packed from, "
                "then pack each part with `python -m train.shards`"
            )
    files = [list_file(source) for source in sources]
    headers = [None if file is None else find_header(file) for file in files]
    tables = [
        Table(file, header)
        for file, header in zip(files, headers, strict=True)
        if file is not None and header is not None
    ]
    if tables and len(tables) < len(sources):
        raise DataError(
            f"{', '.join(map(str, sources))}: tables with a header and lists or trees cannot be "
            "written into one file; give them the same form"
        )
    for table in tables[1:]:
        if set(table.labels) != set(tables[0].labels):
            raise DataError(
                f"{table.file} has the columns {list(table.labels)}, {tables[0].file} has "
                f"{list(tables[0].labels)}; give them the same columns"
            )
    return tables


def check_pictures(pictures: Pictures) -> None:
    """Fail where paths alone do not say which pictures are meant.

    Raises:
        DataError: regions of pictures, or names that a line cannot hold.
    """
    why = unlistable(pictures)
    if why is not None:
        raise DataError(
            f"the data cannot be split: {why}, which paths alone do not tell; store each as a "
            "picture file of its own with a plain name, and list these"
        )


def write_lists(folder: Path, survey: Survey) -> None:
    """Write ``PART.tsv`` for every part that holds crops: absolute paths and label columns.

    Args:
        folder: Where to write.
        survey: The crops; its splits are the parts.
    """
    for name in survey.splits:
        rows = np.flatnonzero(survey.of_split(name))
        if len(rows):
            write_list(folder / f"{name}.tsv", survey, rows)


def write_tables(folder: Path, survey: Survey, tables: Sequence[Table]) -> None:
    """Write ``PART.tsv`` for every part that holds crops: the rows of the tables, all columns.

    Paths become absolute; all other cells are as they were, in the order of the first table.

    Args:
        folder: Where to write.
        survey: The crops; its splits are the parts.
        tables: The sources of the survey.
    """
    first = tables[0]
    with ExitStack() as stack:
        streams = {}
        for index in np.unique(survey.split).tolist():
            file = folder / f"{survey.splits[index]}.tsv"
            streams[index] = stack.enter_context(file.open("w", encoding="utf-8", newline=""))
            write_cells(streams[index], first.header.columns)
        for crop, cells in _rows(survey, tables, first):
            write_cells(streams[survey.split[crop]], cells)


def _rows(survey: Survey, tables: Sequence[Table], first: Table) -> Iterator[tuple[int, list[str]]]:
    """Yield each crop and its cells in the order of the columns of ``first``."""
    crop = 0
    for crops, table in zip(survey.parts, tables, strict=True):
        columns = list(table.header.columns)
        order = [columns.index(name) for name in first.labels]
        usable = set(crops.rows.tolist())
        cells_of = written_cells(table.file, table.header.delimiter)
        for row, (_, cells) in enumerate(cells_of):
            if row not in usable:
                continue
            path = str(survey.paths[crop].absolute())
            ordered = [cells[place] for place in order]
            yield crop, [*ordered[: first.header.path], path, *ordered[first.header.path :]]
            crop += 1
