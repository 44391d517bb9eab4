"""Tables of labelled pictures: CSV (with commas or semicolons) or TSV with a header row.

One column holds the path; the others are found by their names. ``gender`` takes the label of the
head or reading of that name, ``tags=night`` is 0 or 1 for one label of a labels head, and where the
schema has a single labels head the label's name alone is enough. A column ``label`` is a whole
label column, where no other fits. An empty cell is a missing label.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from runtime.errors import DataError

from .label_encoding import Form
from .lists import written_lines
from .pictures import IMAGE_SUFFIXES
from .rows import RowBuilder, Rows

__all__ = ["Header", "find_header", "table_rows", "write_cells", "write_table", "written_cells"]

_PATH: Final = "path"
_FIRST: Final = frozenset({_PATH, "image", "file", "name", "filename"})
"""What the first column may be called to be the path."""
_LABEL: Final = "label"


@dataclass(frozen=True, slots=True)
class Header:
    """The first row of a table."""

    columns: Sequence[str]
    path: int
    """Index of the column with the paths."""
    delimiter: str


def find_header(file: Path) -> Header | None:
    """Return the header of a table; None where the file begins with a sample.

    Raises:
        DataError: the file cannot be read, or its first line is no CSV.
    """
    line = next((line for _, line in written_lines(file)), "").strip("\r\n")
    # Where the comma is the decimal sign, spreadsheets write semicolons.
    delimiter = next((sign for sign in "\t,;" if sign in line), ",")
    try:
        columns = [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error as error:
        raise DataError(
            f"{file}: its first line is neither a sample nor the header of a table ({error}); end "
            "lines with LF or CRLF"
        ) from error
    lowered = [column.lower() for column in columns]
    if _PATH in lowered:
        path = lowered.index(_PATH)
    elif lowered[:1] and lowered[0] in _FIRST:
        path = 0
    else:
        return None
    sample = (
        Path(columns[0]).suffix.lower() in IMAGE_SUFFIXES or (file.parent / columns[0]).is_file()
    )
    return None if sample or len(columns) < 2 else Header(columns, path, delimiter)


def table_rows(file: Path, header: Header, wanted: Callable[[str], bool]) -> Rows:
    """Read a table.

    Args:
        file: UTF-8 CSV or TSV, paths relative to its folder.
        header: Its first row.
        wanted: Whether a column of this name gives labels.

    Raises:
        DataError: two columns of one name, none that is wanted, or no valid CSV.
    """
    places = _label_columns(file, header, wanted)
    rows = RowBuilder(file)
    for line, cells in written_cells(file, header.delimiter):
        fault = None
        if len(cells) != len(header.columns):
            fault = f"{len(cells)} cells, the header has {len(header.columns)}"
            cells = (cells + [""] * len(header.columns))[: len(header.columns)]
        path = cells[header.path].strip()
        if isinstance(places, int):
            rows.add(path, cells[places].strip(), line=line, fault=fault)
            continue
        fields = {name: cells[place].strip() for name, place in places.items()}
        given = {name: label for name, label in fields.items() if label}
        text = json.dumps(given, ensure_ascii=False)
        rows.add(path, text, Form.FIELDS, line=line, fault=fault)
    used = [header.columns[places]] if isinstance(places, int) else [*places]
    rest = [name for name in header.columns if name not in used]
    rest.remove(header.columns[header.path])
    note = f"labels from the columns {', '.join(used)}"
    return rows.done([file.parent], f"{note}; not used: {', '.join(rest)}" if rest else note)


def _label_columns(
    file: Path, header: Header, wanted: Callable[[str], bool]
) -> Mapping[str, int] | int:
    """Return the places of the wanted columns by name, or the place of the label column."""
    names = list(header.columns)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{file}: two columns are called {twice}; rename one of each")
    del names[header.path]
    used = {name: header.columns.index(name) for name in names if wanted(name)}
    if _LABEL in names and used.keys() <= {_LABEL}:
        return header.columns.index(_LABEL)
    if used:
        return used
    raise DataError(
        f"{file}: none of the columns {names} is called like a head or reading of the schema; "
        "rename them, or write a schema file with these names"
    )


def written_cells(file: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells, as they stand there, of the rows under the header.

    Raises:
        DataError: no valid CSV.
    """
    with file.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, delimiter=delimiter, strict=True)
        headed = False
        try:
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                if headed:
                    yield reader.line_num, cells
                headed = True
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(
                f"{file}:{reader.line_num}: no valid CSV ({error}); quote cells that hold quotes, "
                "delimiters or line ends"
            ) from error


def write_table(
    stream: TextIO, paths: Sequence[str], fields: Sequence[Mapping[str, str | int]]
) -> None:
    """Write a table, tabs between the cells, with a column for every name in ``fields``.

    Args:
        stream: Opened without translation of line ends.
        paths: One per row.
        fields: Name to label of each row (``label_encoding.named_fields``); what a row does not
            give is left empty.
    """
    columns = list(dict.fromkeys(name for row in fields for name in row))
    write_cells(stream, [_PATH, *columns])
    for path, row in zip(paths, fields, strict=True):
        write_cells(stream, [path, *(str(row.get(name, "")) for name in columns)])


def write_cells(stream: TextIO, cells: Sequence[str]) -> None:
    """Write a row, tabs between the cells."""
    # Python's csv ends a row at a carriage return, but does not quote one by itself.
    careful = any("\r" in cell for cell in cells)
    csv.writer(
        stream,
        delimiter="\t",
        lineterminator="\n",
        quoting=csv.QUOTE_ALL if careful else csv.QUOTE_MINIMAL,
    ).writerow(cells)
