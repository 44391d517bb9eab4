"""Lists that an audit leaves behind, for people to edit and for ``train.fit`` to read.

``suspects.tsv`` has a header and one row per suspect. After a person has deleted the rows whose
labels are right after all, ``--exclude suspects.tsv`` leaves the others out of the next audit, and
so out of the lists that it writes.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.crops.label_encoding import Form, encoder, named_fields
from benchmarks.crops.pictures import Pictures
from benchmarks.crops.tables import write_table
from benchmarks.crops.targets import empty_targets
from runtime.errors import DataError

from .label_issues import Suspect
from .survey import Survey

__all__ = ["read_excluded", "unlistable", "write_list", "write_lists", "write_suspects"]

_ROW: Final = "row"
_COLUMNS: Final = (
    "path", "given", "suggested", "head", "given_label", "suggested_label", "score", "likely", _ROW,
)  # fmt: skip


def write_suspects(file: Path, survey: Survey, suspects: Sequence[Suspect]) -> None:
    """Write one row per suspect, most doubtful first.

    ``given`` and ``suggested`` are whole label columns, ``given_label`` and ``suggested_label``
    those of the most doubtful head, ``row`` says where the label stands.
    """
    with file.open("w", encoding="utf-8", newline="", errors="surrogateescape") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(_COLUMNS)
        for item in suspects:
            path = survey.paths[item.crop].absolute()
            likely = "yes" if item.likely else "no"
            labels = (survey.texts[item.crop], item.column, item.head, item.given, item.suggested)
            place = survey.rows[item.crop]
            writer.writerow([path, *labels, f"{item.score:.3g}", likely, place])


def read_excluded(file: Path) -> Collection[str]:
    """Return the places of the rows that a list of suspects names.

    Raises:
        DataError: the file cannot be read or is no such list.
    """
    try:
        with file.open(encoding="utf-8", newline="", errors="surrogateescape") as stream:
            reader = csv.DictReader(stream, delimiter="\t")
            columns = list(reader.fieldnames or ())
            places = {row.get(_ROW) for row in reader}
    except (OSError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read ({error}); expected a suspects.tsv") from error
    if _ROW not in columns or None in places:
        raise DataError(
            f"{file}: expected the columns of suspects.tsv, tabs between them, and a {_ROW!r} in "
            f"every row; got the columns {columns}"
        )
    return {place for place in places if place is not None}


def write_lists(
    folder: Path, survey: Survey, suspects: Sequence[Suspect]
) -> Mapping[str, str | None]:
    """Write, for every split, the usable rows and those without likely suspects.

    Args:
        folder: Where to write ``train.tsv``, ``train-without-suspects.tsv`` and so on
            (``write_list``).
        survey: The crops.
        suspects: Those marked as likely are left out of the second list.

    Returns:
        Split to why no list was written, or None where one was.
    """
    wrong = np.zeros(len(survey), np.bool_)
    wrong[[item.crop for item in suspects if item.likely]] = True
    folder.mkdir()
    found: dict[str, str | None] = {}
    starts = np.cumsum([0, *map(len, survey.parts)])
    for name in survey.splits:
        inside = survey.of_split(name)
        parts = [
            part for part, start in zip(survey.parts, starts, strict=False)
            if len(part) and inside[start]
        ]  # fmt: skip
        reasons = [(part.source, unlistable(part.paths)) for part in parts]
        found[name] = next((f"{source}: {why}" for source, why in reasons if why), None)
        if found[name] is None:
            write_list(folder / f"{name}.tsv", survey, np.flatnonzero(inside))
            if suspects:
                rows = np.flatnonzero(inside & ~wrong)
                write_list(folder / f"{name}-without-suspects.tsv", survey, rows)
    return found


def unlistable(pictures: Pictures) -> str | None:
    """Return why a list of paths cannot say which pictures these are; None if it can."""
    if pictures.spans is not None:
        return "pictures in tar shards"
    if pictures.boxes is not None:
        return "regions of pictures"
    if any(letter in str(path) for path in pictures for letter in "\t\n"):
        return "tabs or line ends in file names"
    return None


def write_list(file: Path, survey: Survey, rows: npt.NDArray[np.integer]) -> None:
    """Write the crops at ``rows`` as a list of absolute paths and label columns.

    Where a label column cannot say what a crop's labels are (labels heads that are given in part,
    numbers that spell no text of a format), as a table with a column per head or label.
    """
    paths = [str(survey.paths[row].absolute()) for row in rows]
    with file.open("w", encoding="utf-8", newline="", errors="surrogateescape") as stream:
        if _columns_tell(survey, rows):
            for path, row in zip(paths, rows, strict=True):
                stream.write(f"{path}\t{survey.texts[row]}\n")
        else:
            encoded = [survey.targets.row(row) for row in rows]
            write_table(stream, paths, [named_fields(survey.schema, each) for each in encoded])


def _columns_tell(survey: Survey, rows: npt.NDArray[np.integer]) -> bool:
    """Return whether the label columns, read again, give the labels that the crops have."""
    encode = encoder(survey.schema, Form.COLUMN)
    told = empty_targets(survey.schema, len(rows))
    try:
        for place, row in enumerate(rows):
            told.put(place, encode(survey.texts[row]))
    except DataError:
        return False
    meant = survey.targets.take(rows)
    choices = [np.array_equal(told.choices[name], meant.choices[name]) for name in told.choices]
    labels = [np.array_equal(told.labels[name], meant.labels[name]) for name in told.labels]
    return all(choices) and all(labels)
