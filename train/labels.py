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


def resolve_schema(name: str, sources: Sequence[Path]) -> Schema:
    """Return a schema by name, from a JSON file, or derived from labels.

    Args:
        name: A built-in name, a file, ``derive:labels`` (one labels head of all parts of the
            labels) or ``derive:colour,garment`` (one choice head per comma-separated part).
        sources: Where the labels stand, if they are needed.

    Raises:
        SchemaError: the name is none of these.
        DataError: labels with another number of parts than heads were asked for.
    """
    if not name.startswith(_DERIVE):
        return load_schema(name)
    rows = [row for source in sources for row in label_columns(source)]
    if not rows:
        raise DataError(f"no labels in {', '.join(map(str, sources))} to derive a schema from")
    names = [part.strip() for part in name.removeprefix(_DERIVE).split(",")]
    if names == ["labels"]:
        named = (label for _, text in rows for label in split_labels(text, commas=True))
        labels = sorted({label for label in named if label})
        return Schema(
            name="derived", heads=(Head(name="labels", kind=HeadKind.LABELS, labels=tuple(labels)),)
        )
    return Schema(name="derived", heads=_choice_heads(names, rows))


def _choice_heads(names: Sequence[str], rows: Sequence[tuple[str, str]]) -> tuple[Head, ...]:
    wrong = [f"{where}: {text!r}" for where, text in rows if text.count(",") != len(names) - 1]
    if wrong:
        shown = "\n  ".join(wrong[:20])
        raise DataError(
            f"{len(wrong)} of {len(rows)} labels do not have {len(names)} parts, one for each of "
            f"{list(names)}:\n  {shown}"
        )
    parts = [[part.strip() for part in text.split(",")] for _, text in rows]
    columns = [sorted({row[index] for row in parts} - {""}) for index in range(len(names))]
    few = [name for name, labels in zip(names, columns, strict=True) if len(labels) < 2]
    if few:
        raise SchemaError(f"heads {few} have fewer than two different labels in the data")
    return tuple(
        Head(name=name, kind=HeadKind.CHOICE, labels=tuple(labels))
        for name, labels in zip(names, columns, strict=True)
    )
