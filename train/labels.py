"""Schemas derived from the data: what a user without a schema file starts from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.labelled import label_columns, split_labels
from runtime.errors import DataError, SchemaError
from runtime.schema import Head, HeadKind, Schema, load_schema

__all__ = ["resolve_schema"]

_DERIVE: Final = "derive:"
_LABELS_MARK: Final = "+"
_REPORTED_ROWS: Final = 20


def resolve_schema(name: str, sources: Sequence[Path]) -> Schema:
    """Return a schema by name, from a JSON file, or derived from labels.

    Args:
        name: A built-in name, a file, or ``derive:`` and the heads to make, in the order of the
            fields of the label column; in tables and JSON labels they are found by name. ``+``
            after a name makes a labels head, else it is a choice head: ``derive:colour,garment``,
            ``derive:gender,season,tags+``. ``derive:labels`` is short for ``derive:labels+``.
        sources: Where the labels stand, if they are needed.

    Raises:
        SchemaError: the name is none of these, or a head would have too few labels.
        DataError: no labels, or all have more parts than heads were asked for.
    """
    if not name.startswith(_DERIVE):
        return load_schema(name)
    marked = [part.strip() for part in name.removeprefix(_DERIVE).split(",")]
    if marked == ["labels"]:
        marked = [f"labels{_LABELS_MARK}"]
    names = [part.removesuffix(_LABELS_MARK).strip() for part in marked]
    several = [part.endswith(_LABELS_MARK) for part in marked]
    found = _labels_found(names, several, sources)
    few = [
        name
        for name, many, labels in zip(names, several, found, strict=True)
        if len(labels) < (1 if many else 2)
    ]
    if few:
        raise SchemaError(f"heads {few} have fewer than two different labels in the data")
    kinds = [HeadKind.LABELS if many else HeadKind.CHOICE for many in several]
    heads = [
        Head(name=name, kind=kind, labels=tuple(sorted(labels)))
        for name, kind, labels in zip(names, kinds, found, strict=True)
    ]
    return Schema(name="derived", heads=tuple(heads))


def _labels_found(
    names: Sequence[str], several: Sequence[bool], sources: Sequence[Path]
) -> Sequence[set[str]]:
    """Return the labels that occur in each field.

    Raises:
        DataError: no rows, or all have more fields.
    """
    alone = len(names) == 1 and several[0]  # then commas, too, split labels
    found: list[set[str]] = [set() for _ in names]
    rows, wrong = 0, []
    for source in sources:
        for where, text in label_columns(source, names):
            rows += 1
            parts = [text.replace(",", "|")] if alone else text.split(",")
            if len(parts) > len(names):
                wrong.append(f"{where}: {text!r}")
                continue
            for labels, many, part in zip(found, several, parts, strict=False):
                labels |= set(split_labels(part) if many else [part.strip()]) - {""}
    if not rows:
        raise DataError(f"no labels in {', '.join(map(str, sources))} to derive a schema from")
    if len(wrong) == rows:  # of single ones the reader will tell, or leave them out
        shown = "\n  ".join(wrong[:_REPORTED_ROWS])
        raise DataError(
            f"all {rows} labels have more than {len(names)} parts, one for each of {names}:\n"
            f"  {shown}"
        )
    return found
