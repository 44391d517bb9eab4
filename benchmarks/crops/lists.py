"""Lists and trees of labelled pictures.

- ``path<TAB>label``: the label column of ``labelled``.
- ``path n0 n1 ...``: one label number per head, in the schema's order, -1 where missing.
- ``path class x1 y1 x2 y2 a0 a1 ...``: a region of the picture, counted from 1 with both ends
  included, its class, and 0 or 1 for every label of the schema's labels head (the form of
  aPascal: Farhadi et al., "Describing Objects by their Attributes", CVPR 2009).
- a tree ``folder/black_jeans/1.jpg``: the folder's name, split at ``_``, is the label.

A list with a tab in it is of the first kind; one whose lines end in whole numbers is of the second
or third, as the schema's heads say. In these the path may hold spaces: what is counted is the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from runtime.errors import DataError
from runtime.schema import HeadKind, Schema

from .label_encoding import Form, only_labels_head
from .pictures import IMAGE_SUFFIXES
from .rows import RowBuilder, Rows

__all__ = ["LIST_FILE", "list_rows", "tree_rows", "written_lines"]

LIST_FILE: Final = "labels.tsv"
"""The list or table of a folder."""
_NUMBER: Final = re.compile(r"-?[0-9]+")
_OTHER_SUFFIXES: Final = frozenset({".tif", ".tiff", ".gif", ".heic", ".avif", ".jp2", ".ppm"})
"""Of pictures that are not read."""


def written_lines(file: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of the lines that are not blank.

    Raises:
        DataError: the file is not readable UTF-8.
    """
    try:
        # Only line feeds end a line: file names may hold form feeds or U+2028.
        with file.open(encoding="utf-8-sig", newline="\n") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield number, line
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{file}: cannot be read ({error}); expected a UTF-8 list of path<TAB>label, a table "
            "with a header, a folder with labels.tsv, a tree of labelled folders or tar shards"
        ) from error


def list_rows(file: Path, schema: Schema | None) -> Rows:
    """Read a list without a header.

    Args:
        file: UTF-8, one sample a line, paths relative to the file's folder.
        schema: Its heads; needed for numbers only.

    Raises:
        DataError: the file cannot be read, or holds numbers that the schema has no heads for.
    """
    numbered = False
    for _, line in written_lines(file):
        if "\t" in line.strip("\r\n"):
            return _labelled(file)
        fields = line.split()
        numbered = numbered or (len(fields) > 1 and _NUMBER.fullmatch(fields[-1]) is not None)
    return _numbered(file, schema) if numbered else _labelled(file)


def _labelled(file: Path) -> Rows:
    rows = RowBuilder(file)
    for number, line in written_lines(file):
        path, tab, label = line.partition("\t")
        fault = None if tab else _other_split(line.strip(), file.parent)
        rows.add(path.rstrip("\r\n"), label.strip(), line=number, fault=fault)
    return rows.done([file.parent])


def _other_split(line: str, folder: Path) -> str | None:
    """Return what to do about a line whose path ends at something other than a tab."""
    for delimiter in (",", ";", " "):
        path, found, _ = line.partition(delimiter)
        if found and (folder / path).is_file():
            return (
                f"path and label are split at {delimiter!r}; split them at a tab, or write a table "
                "whose first line names the columns: path,label"
            )
    return None


def _numbered(file: Path, schema: Schema | None) -> Rows:
    if schema is None:
        raise DataError(
            f"{file} gives labels as numbers; a schema cannot be derived from it: write a schema "
            "file that names the labels of every head in the order of the numbers"
        )
    if all(head.kind is HeadKind.CHOICE for head in schema.heads):
        return _indexed(file, schema)
    return _boxed(file, schema)


def _indexed(file: Path, schema: Schema) -> Rows:
    names = [head.name for head in schema.heads]
    rows = RowBuilder(file)
    for number, line in written_lines(file):
        path, *fields = line.rsplit(None, len(names))
        fault = None
        wrong = len(fields) != len(names) or not all(map(_NUMBER.fullmatch, fields))
        if wrong or _has_more(path, file.parent):
            fault = (
                f"expected a path and {len(names)} whole numbers, one for each of {names}, got "
                f"{line.strip()!r}"
            )
        rows.add(path, " ".join(fields), Form.NUMBERS, line=number, fault=fault)
    return rows.done([file.parent])


def _has_more(path: str, folder: Path) -> bool:
    """Whether the end of a path is one number too many, not part of a file's name."""
    last = path.split()[-1:]
    return (
        " " in path and bool(last and _NUMBER.fullmatch(last[0])) and not (folder / path).exists()
    )


def _boxed(file: Path, schema: Schema) -> Rows:
    head = only_labels_head(schema)
    if head is None:
        raise DataError(
            f"{file} gives labels as numbers, but the schema {schema.name!r} has neither choice "
            "heads alone nor one labels head"
        )
    rows = RowBuilder(file)
    for number, line in written_lines(file):
        path, *fields = line.rsplit(None, head.size + 5)
        name, box, bits = fields[:1], fields[1:5], fields[5:]
        fault = None
        whole = len(bits) == head.size and all(map(_NUMBER.fullmatch, box + bits))
        sides = [int(side) for side in box] if whole else [0] * 4
        if not whole or _NUMBER.fullmatch(name[0]) or min(sides) < 1:
            fault = (
                f"expected a path, a class, x1 y1 x2 y2 counted from 1 and {head.size} numbers, "
                f"one for each label of {head.name!r}, got {line.strip()[:200]!r}"
            )
        text = " ".join([*name, *bits])
        rows.add(path, text, Form.ATTRIBUTES, line=number, box=sides, fault=fault)
    return rows.done([file.parent])


def tree_rows(folder: Path) -> Rows:
    """Read a tree ``folder/label/picture``; what looks like a picture elsewhere in it is noted."""
    homes = sorted(path for path in folder.iterdir() if path.is_dir())
    rows = RowBuilder()
    for index, home in enumerate(homes):
        label = home.name.replace("_", ",")
        for path in sorted(home.iterdir()):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                rows.add(path.name, label, home=index)
    return rows.done(homes, _left_out(folder))


def _left_out(folder: Path) -> str:
    """Return a note on the pictures of a tree that are not read."""
    found = sorted(
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES | _OTHER_SUFFIXES
        and not (path.parent.parent == folder and path.suffix.lower() in IMAGE_SUFFIXES)
    )
    if not found:
        return ""
    names = ", ".join(path.as_posix() for path in found[:3]) + (", ..." if found[3:] else "")
    return (
        f"left out {len(found)} pictures ({names}); expected folder/label/picture, as "
        f"{', '.join(sorted(IMAGE_SUFFIXES))}"
    )
