"""Crops of a kit: pictures with numbers as names, a list of their paths, and their labels."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import cv2

from benchmarks.crops.label_encoding import Form, encoder, named_fields
from benchmarks.crops.pictures import Pictures
from benchmarks.crops.rows import Rows
from benchmarks.crops.tables import write_table
from benchmarks.crops.targets import Encoded
from benchmarks.crops.unlabelled import unlabelled_rows
from benchmarks.labelled import bad_rows_error, scan_rows
from runtime.errors import DataError
from runtime.schema import Schema

__all__ = ["LABELS", "PICTURES", "pack_crops"]

PICTURES: Final = "pictures.txt"
"""A path a line: what speed is measured with."""
LABELS: Final = "labels.tsv"
"""The same with labels: what accuracy is measured on."""


def pack_crops(source: Path, schema: Schema, folder: Path) -> bool:
    """Write the crops of a source into a new folder.

    Args:
        source: Anything that ``--data`` takes; a folder or list of pictures without labels, too.
        schema: What labels must fit.
        folder: To be made.

    Returns:
        Whether the crops have labels.

    Raises:
        DataError: the source cannot be read, or a label or picture cannot be used.
    """
    rows = _rows(source, schema)
    labelled = any(text for text in rows.texts)
    (folder / "images").mkdir(parents=True)
    names = list(_copied(rows.pictures, folder))
    (folder / PICTURES).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    if labelled:
        text = _labels(source, rows, schema, names)
        (folder / LABELS).write_text(text, encoding="utf-8", newline="\n")
    return labelled


def _rows(source: Path, schema: Schema) -> Rows:
    try:
        rows = scan_rows(source, schema)
    except DataError:
        return unlabelled_rows(source)  # a folder of pictures
    return rows


def _copied(pictures: Pictures, folder: Path) -> Iterator[str]:
    """Copy the pictures as they are, or as PNG those that are regions of their files."""
    for index in range(len(pictures)):
        content = pictures.content(index)
        image = pictures.decode(index, content)
        suffix = pictures[index].suffix.lower() or ".jpg"
        if pictures.cut(index):
            suffix, content = ".png", cv2.imencode(".png", image)[1].tobytes()
        name = f"images/{index:06d}{suffix}"
        (folder / name).write_bytes(content)
        yield name


def _labels(source: Path, rows: Rows, schema: Schema, names: Sequence[str]) -> str:
    """Return the rows as a list, or as a table where labels did not come as a label column."""
    encoders = {form: encoder(schema, Form(form)) for form in set(rows.forms.tolist())}
    fields: list[Mapping[str, str | int]] = []
    bad: list[str] = []
    for row, text in enumerate(rows.texts):
        found = _fields(schema, encoders[rows.forms[row]], text)
        fault = rows.faults.get(row) or (found if isinstance(found, str) else None)
        if fault is not None:
            bad.append(f"{rows.where(row)}: {fault}")
        elif not isinstance(found, str):
            fields.append(found)
    if bad:
        raise bad_rows_error(source, bad, len(rows))
    if set(encoders) == {Form.COLUMN}:
        return "".join(f"{name}\t{text}\n" for name, text in zip(names, rows.texts, strict=True))
    table = io.StringIO()
    write_table(table, names, fields)
    return table.getvalue()


def _fields(
    schema: Schema, encode: Callable[[str], Encoded], text: str
) -> Mapping[str, str | int] | str:
    """Return the labels of a row by name, or what is wrong with them."""
    try:
        return named_fields(schema, encode(text))
    except DataError as error:
        return str(error)
