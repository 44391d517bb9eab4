"""From labels as people write them to label indices, checked against a schema.

A sample's labels come in one of five forms (``Form``). Whatever the form, a label that is not
given is -1 in ``Targets`` and masked in losses and metrics.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import IntEnum
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from runtime.errors import DataError
from runtime.schema import Head, HeadKind, Reading, Schema

from .spelling import encode_reading
from .targets import MISSING, Encoded

__all__ = [
    "NOT_GIVEN",
    "Form",
    "encoder",
    "label_places",
    "named_fields",
    "named_labels",
    "only_labels_head",
    "split_labels",
    "written",
]

NOT_GIVEN: Final = "NA"
"""A missing label in tables, as an empty cell is, unless a head has a label of this name."""
_BITS: Final[Mapping[str, int]] = {"0": 0, "1": 1, "-1": MISSING}


class Form(IntEnum):
    """How a row's text gives the labels."""

    COLUMN = 0
    """A label column: fields split at commas, in the schema's order."""
    FIELDS = 1
    """A JSON object from names to labels."""
    NUMBERS = 2
    """One label index per head, in the schema's order, split at spaces; -1 where missing."""
    ATTRIBUTES = 3
    """A class, then 0, 1 or -1 for every label of the one labels head, split at spaces."""
    ABSENT = 4
    """The picture has no labels; the text is empty."""


def encoder(schema: Schema, form: Form) -> Callable[[str], Encoded]:
    """Return the function that encodes a row's text; it raises DataError saying what is wrong."""
    if form is Form.FIELDS:
        return _fields_encoder(schema)
    encode = {
        Form.COLUMN: _encode_column,
        Form.NUMBERS: _encode_numbers,
        Form.ATTRIBUTES: _encode_attributes,
        Form.ABSENT: lambda _schema, _text: {},
    }[form]
    return partial(encode, schema)


def split_labels(text: str, *, commas: bool = False) -> list[str]:
    """Return the labels that the field of a labels head names; ``-`` names none.

    Args:
        text: Labels split at ``|``.
        commas: Whether commas split them as well, as where the field is the only one.
    """
    if text.strip() == "-":
        return []
    parts = text.replace(",", "|") if commas else text
    return [part.strip() for part in parts.split("|")]


def only_labels_head(schema: Schema) -> Head | None:
    """Return the one labels head, whose labels may stand as names of columns; None if not one."""
    found = [head for head in schema.heads if head.kind is HeadKind.LABELS]
    return found[0] if len(found) == 1 else None


def written(schema: Schema, encoded: Encoded) -> str:
    """Return the label column that says what ``encoded`` does.

    Labels that it does not give are left empty, positions of a text ``?``. A labels head that is
    given in part names the labels that are true.
    """
    fields = [
        *(_spelled(schema, reading, encoded) for reading in schema.readings),
        *(_named(head, encoded) for head in schema.free_heads),
    ]
    return ",".join(fields).rstrip(",")


def named_fields(schema: Schema, encoded: Encoded) -> dict[str, str | int]:
    """Return the fields of the form ``FIELDS`` that say what ``encoded`` does."""
    fields: dict[str, str | int] = {}
    for head in schema.heads:
        value = encoded.get(head.name)
        if isinstance(value, np.ndarray):
            bits = zip(head.labels, value.tolist(), strict=True)
            fields |= {f"{head.name}={label}": bit for label, bit in bits if bit != MISSING}
        elif value is not None:
            fields[head.name] = head.labels[value]
    return fields


def _spelled(schema: Schema, reading: Reading, encoded: Encoded) -> str:
    if not any(name in encoded for name in reading.heads):
        return ""
    labels = [_named(schema.head(name), encoded) or "?" for name in reading.heads]
    return "".join(label for label in labels if label != reading.blank)


def _named(head: Head, encoded: Encoded) -> str:
    if head.name not in encoded:
        return ""
    value = encoded[head.name]
    if head.kind is HeadKind.CHOICE:
        return head.labels[int(value)]
    bits = np.atleast_1d(value)
    if (bits == MISSING).all():
        return ""
    chosen = [label for label, bit in zip(head.labels, bits, strict=True) if bit == 1]
    return "|".join(chosen) or "-"


def _encode_column(schema: Schema, text: str) -> Encoded:
    fields: Sequence[Reading | Head] = (*schema.readings, *schema.free_heads)
    only = fields[0] if len(fields) == 1 else None
    if not text:
        raise DataError("no label; expected path<TAB>label")
    if isinstance(only, Head) and only.kind is HeadKind.LABELS:
        return {only.name: _encode_set(only, split_labels(text, commas=True))}
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > len(fields):
        raise DataError(
            f"label {text!r} has {len(parts)} fields, the schema {schema.name!r} only "
            f"{len(fields)}: {[item.name for item in fields]}"
        )
    values: dict[str, Any] = {}
    for item, part in zip(fields, parts, strict=False):
        if part:
            values |= _encode_field(schema, item, part)
    if not values:
        raise DataError("no label; expected path<TAB>label")
    return values


def _fields_encoder(schema: Schema) -> Callable[[str], Encoded]:
    items: dict[str, Reading | Head] = {reading.name: reading for reading in schema.readings}
    items |= {head.name: head for head in schema.heads}
    places = label_places(schema)

    def encode(text: str) -> Encoded:
        values: dict[str, Any] = {}
        bits: dict[str, npt.NDArray[np.int8]] = {}
        for name, label in named_labels(text).items():
            if label == NOT_GIVEN and not _is_label(items.get(name), label):
                continue
            if name in items:
                found = _encode_field(schema, items[name], label)
                _refuse_twice(name, found.keys() & values.keys())
                values |= found
            elif name in places:
                head, index = places[name]
                if label not in _BITS:
                    raise DataError(f"{name!r} is {label!r}; expected 0, 1, or -1 where unknown")
                row = bits.setdefault(head.name, np.full(head.size, MISSING, np.int8))
                row[index] = _BITS[label]
            elif (head_name := name.partition("=")[0]) in items and "=" in name:
                raise DataError(f"{name!r}: the head {head_name!r} has no such label")
        _refuse_twice("a field of 0 and 1", bits.keys() & values.keys())
        if not values and not bits:
            raise DataError(f"no label; expected some of {[*items]}, each under its name")
        return values | bits

    return encode


def _is_label(item: Reading | Head | None, text: str) -> bool:
    return isinstance(item, Head) and text in item.labels


def _refuse_twice(name: str, heads: Collection[str]) -> None:
    if heads:
        raise DataError(f"{name}: the labels of {sorted(heads)} are given a second time")


def named_labels(text: str) -> dict[str, str]:
    """Return name to label of a row in the form ``FIELDS``, without those that are empty.

    Lists are joined with ``|``; true and false become 1 and 0.

    Raises:
        DataError: ``text`` is not a JSON object.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise DataError(f"the labels are not JSON: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"expected a JSON object from names to labels, got {text[:40]!r}")
    return {name: label for name, value in found.items() if (label := _plain(value))}


def _plain(value: object) -> str:
    if value is None or isinstance(value, str):
        return (value or "").strip()
    if isinstance(value, (bool, int)):
        return str(int(value))
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "|".join(value) or "-"
    return json.dumps(value)


def label_places(schema: Schema) -> Mapping[str, tuple[Head, int]]:
    """Return, by name, the labels head and the index in it that a field of 0 and 1 is about.

    The name is ``head=label``, or the label alone where the schema has one labels head.
    """
    heads = [head for head in schema.heads if head.kind is HeadKind.LABELS]
    alone = {label: (heads[0], i) for i, label in enumerate(heads[0].labels)} if heads else {}
    full = {
        f"{head.name}={label}": (head, i) for head in heads for i, label in enumerate(head.labels)
    }
    return {**(alone if len(heads) == 1 else {}), **full}


def _encode_numbers(schema: Schema, text: str) -> Encoded:
    try:
        numbers = [int(part) for part in text.split()]
    except ValueError as error:
        raise DataError(f"{text[:40]!r}: expected whole numbers of labels, from 0") from error
    names = [head.name for head in schema.heads]
    if any(head.kind is not HeadKind.CHOICE for head in schema.heads):
        raise DataError("numbers give one label per head; the schema has a labels head")
    if len(numbers) != len(names):
        raise DataError(
            f"{len(numbers)} numbers, expected {len(names)}, one for each of the heads {names}"
        )
    values = {}
    for head, number in zip(schema.heads, numbers, strict=True):
        if not MISSING <= number < head.size:
            raise DataError(
                f"head {head.name!r} has no label number {number}; expected 0 to {head.size - 1}, "
                "or -1 where unknown"
            )
        if number != MISSING:
            values[head.name] = number
    if not values:
        raise DataError("no label; every number is -1")
    return values


def _encode_attributes(schema: Schema, text: str) -> Encoded:
    name, *bits = text.split()
    head = only_labels_head(schema)
    classes = [item for item in schema.heads if item.kind is HeadKind.CHOICE]
    if head is None or len(classes) > 1:
        raise DataError(
            "lines of picture, class, box and attributes need a schema of one labels head and at "
            f"most one choice head; {schema.name!r} has {[item.name for item in schema.heads]}"
        )
    if len(bits) != head.size:
        raise DataError(
            f"{len(bits)} attributes after the box, expected {head.size}, one for each label of "
            f"the head {head.name!r}"
        )
    if not set(bits) <= set(_BITS):
        raise DataError(f"attributes must be 0, 1, or -1 where unknown, got {' '.join(bits)}")
    values: dict[str, Any] = {head.name: np.array([_BITS[bit] for bit in bits], np.int8)}
    return values | (_encode_field(schema, classes[0], name) if classes else {})


def _encode_field(schema: Schema, item: Reading | Head, text: str) -> dict[str, Any]:
    if isinstance(item, Reading):
        return dict(encode_reading(schema, item, text))
    if item.kind is HeadKind.LABELS:
        return {item.name: _encode_set(item, split_labels(text))}
    if text not in item.labels:
        raise DataError(f"head {item.name!r} has no label {text!r}; it has {_some(item.labels)}")
    return {item.name: item.labels.index(text)}


def _encode_set(head: Head, named: Sequence[str]) -> npt.NDArray[np.int8]:
    unknown = [label for label in named if label not in head.labels]
    if unknown:
        raise DataError(f"head {head.name!r} has no label {unknown}; it has {_some(head.labels)}")
    return np.isin(np.asarray(head.labels), named).astype(np.int8)


def _some(labels: Sequence[str]) -> str:
    return " ".join(labels[:40]) + (" ..." if len(labels) > 40 else "")
