"""Labelled crops on disk, read and checked against a schema.

Three shapes are understood:

- a list: UTF-8, one ``path<TAB>label`` a line, paths relative to the list's folder;
- a folder with ``labels.tsv`` in it: that list;
- a tree ``folder/black_jeans/1.jpg``: the folder's name, split at ``_``, is the label.

The label column holds one *field* per reading, then one per head outside readings, split at
commas: ``苏E8D2K3``, ``苏E8D2K3,blue,single``, ``black,jeans``. A field may be empty, and fields at
the end may be left out: that label is missing and masked. A labels head takes its labels split at
``|`` (``-`` for none of them); where it is the only field, commas split them as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.arrays import Image, Images
from runtime.errors import DataError, ImageError
from runtime.preprocess import InputSpec, fit, load_image
from runtime.schema import Head, HeadKind, Reading, Schema

__all__ = [
    "LIST_FILE",
    "LabelledCrops",
    "Targets",
    "encode_reading",
    "label_columns",
    "read_image",
    "read_labelled",
    "split_labels",
]

LIST_FILE: Final = "labels.tsv"
IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
_REPORTED_ROWS: Final = 100
MISSING: Final = -1


@dataclass(frozen=True, slots=True)
class Targets:
    """The truth of N samples as label indices."""

    choices: Mapping[str, npt.NDArray[np.int64]]
    """Choice head to (N,) label index, -1 where the label is missing."""
    labels: Mapping[str, npt.NDArray[np.int8]]
    """Labels head to (N, K) of 0 and 1, -1 where the label is missing."""

    def take(self, index: npt.NDArray[np.integer]) -> Targets:
        """Return the rows at ``index``."""
        return Targets(
            {name: value[index] for name, value in self.choices.items()},
            {name: value[index] for name, value in self.labels.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledCrops:
    """N checked crops: every path is a readable picture, every label is in the schema."""

    source: Path
    schema: Schema
    paths: Sequence[Path]
    texts: Sequence[str]
    """N label columns as written."""
    targets: Targets
    bad_rows: Sequence[str] = ()
    """Rows left out with ``skip_bad``, each with file, line and reason."""

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def digest(self) -> str:
        """SHA-256 over file names and labels, in order: which samples these are."""
        digest = hashlib.sha256()
        for path, text in zip(self.paths, self.texts, strict=True):
            digest.update(f"{path.name}\t{text}\n".encode())
        return digest.hexdigest()

    def take(self, index: npt.NDArray[np.integer]) -> LabelledCrops:
        """Return the samples at ``index``."""
        return replace(
            self,
            paths=[self.paths[i] for i in index],
            texts=[self.texts[i] for i in index],
            targets=self.targets.take(index),
        )

    def images(self) -> Iterator[Image]:
        """Read the pictures one after the other, at their own size."""
        return map(read_image, self.paths)

    def fitted(self, spec: InputSpec) -> Images:
        """Read all pictures at the network's input size: (N, height, width, 3) uint8."""
        stacked = np.empty((len(self), *spec.shape), np.uint8)

        def load(index: int) -> None:
            stacked[index] = fit(read_image(self.paths[index]), spec)

        with ThreadPoolExecutor() as pool:  # OpenCV decodes outside the interpreter lock
            list(pool.map(load, range(len(self))))
        return stacked


@dataclass(frozen=True, slots=True)
class _Row:
    where: str
    path: Path
    text: str


def read_image(path: Path) -> Image:
    """Read a picture as (H, W, 3) uint8, BGR.

    Raises:
        DataError: the file is missing, no picture, cut short or too small.
    """
    try:
        return load_image(path)
    except ImageError as error:
        raise DataError(str(error)) from error


def read_labelled(source: Path, schema: Schema, *, skip_bad: bool = False) -> LabelledCrops:
    """Read and check a list or tree of labelled crops.

    Args:
        source: A list file, a folder with ``labels.tsv``, or a tree of labelled folders.
        schema: What the labels must fit.
        skip_bad: Leave bad rows out instead of failing.

    Raises:
        DataError: no rows, or bad rows, all of them named with file and line.
    """
    rows = list(_rows(source))
    if not rows:
        raise DataError(f"{source}: no samples; expected lines of path<TAB>label")
    encode = _encoder(schema)
    with ThreadPoolExecutor() as pool:
        pictures = list(pool.map(_picture_fault, (row.path for row in rows)))
    good: list[_Row] = []
    encoded: list[Mapping[str, object]] = []
    bad: list[str] = []
    for row, fault in zip(rows, pictures, strict=True):
        try:
            values = encode(row)
        except DataError as error:
            fault = f"{fault}; {error}" if fault else str(error)
        if fault:
            bad.append(f"{row.where}: {fault}")
        else:
            good.append(row)
            encoded.append(values)
    if (bad and not skip_bad) or not good:
        raise DataError(_complaint(source, bad, len(rows)))
    return LabelledCrops(
        source=source,
        schema=schema,
        paths=[row.path for row in good],
        texts=[row.text for row in good],
        targets=_stack(schema, encoded),
        bad_rows=bad,
    )


def label_columns(source: Path) -> Sequence[tuple[str, str]]:
    """Return (place, label column) of every row, unchecked: to derive a schema from.

    Raises:
        DataError: ``source`` cannot be read.
    """
    return [(row.where, row.text) for row in _rows(source)]


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


def _complaint(source: Path, bad: Sequence[str], total: int) -> str:
    shown = "\n  ".join(bad[:_REPORTED_ROWS])
    more = f"\n  ... and {len(bad) - _REPORTED_ROWS} more" if len(bad) > _REPORTED_ROWS else ""
    return (
        f"{source}: {len(bad)} of {total} rows cannot be used; mend them or pass --skip-bad "
        f"to leave them out:\n  {shown}{more}"
    )


def _picture_fault(path: Path) -> str | None:
    try:
        read_image(path)
    except DataError as error:
        return str(error)
    return None


def _rows(source: Path) -> Iterator[_Row]:
    if source.is_dir():
        inner = source / LIST_FILE
        return _list_rows(inner) if inner.is_file() else _tree_rows(source)
    return _list_rows(source)


def _list_rows(source: Path) -> Iterator[_Row]:
    try:
        text = source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{source}: cannot be read ({error}); expected a UTF-8 list of path<TAB>label, a "
            f"folder with {LIST_FILE}, or a tree of labelled folders"
        ) from error
    # Not splitlines, which also splits at form feeds and U+2028: file names may hold them.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            path, _, label = line.partition("\t")
            yield _Row(f"{source}:{number}", source.parent / path, label.strip())


def _tree_rows(source: Path) -> Iterator[_Row]:
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                label = folder.name.replace("_", ",")
                yield _Row(str(path), path, label)


def _encoder(schema: Schema) -> Callable[[_Row], Mapping[str, object]]:
    fields: Sequence[Reading | Head] = (*schema.readings, *schema.free_heads)
    only = fields[0] if len(fields) == 1 else None

    def encode(row: _Row) -> Mapping[str, object]:
        if not row.text:
            raise DataError("no label; expected path<TAB>label")
        if isinstance(only, Head) and only.kind is HeadKind.LABELS:
            return {only.name: _encode_set(only, split_labels(row.text, commas=True))}
        parts = [part.strip() for part in row.text.split(",")]
        if len(parts) > len(fields):
            raise DataError(
                f"label {row.text!r} has {len(parts)} fields, the schema {schema.name!r} only "
                f"{len(fields)}: {[item.name for item in fields]}"
            )
        values: dict[str, object] = {}
        for item, part in zip(fields, parts, strict=False):
            if part:
                values |= _encode_field(schema, item, part)
        if not values:
            raise DataError("no label; expected path<TAB>label")
        return values

    return encode


def _encode_field(schema: Schema, item: Reading | Head, text: str) -> dict[str, object]:
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


def encode_reading(schema: Schema, reading: Reading, text: str) -> Mapping[str, int]:
    """Return the label index of every position that spells ``text``.

    Raises:
        DataError: no spelling fits the positions' labels and, where given, a format.
    """
    positions: Sequence[Sequence[Sequence[str]]] = [f.positions for f in reading.formats] or [
        [schema.head(name).labels for name in reading.heads]
    ]
    for allowed in positions:
        spelled = _spell(tuple(map(_longest_first, allowed)), reading.blank, text)
        if spelled is not None:
            return {
                name: schema.head(name).labels.index(label)
                for name, label in zip(reading.heads, spelled, strict=True)
            }
    shapes = ", ".join(item.name for item in reading.formats) or "its positions"
    known = {letter for name in reading.heads for letter in "".join(schema.head(name).labels)}
    strange = f"; no label has {' '.join(sorted(set(text) - known))}" if set(text) - known else ""
    raise DataError(f"{text!r} does not fit the reading {reading.name!r} (tried {shapes}){strange}")


@lru_cache(maxsize=1024)
def _longest_first(labels: Sequence[str]) -> Sequence[str]:
    """So that "WJ" wins over a label "W"."""
    return sorted(labels, key=len, reverse=True)


def _spell(
    allowed: Sequence[Sequence[str]], blank: str | None, text: str
) -> tuple[str, ...] | None:
    if not allowed:
        return None if text else ()
    for label in allowed[0]:
        written = "" if label == blank else label  # the blank consumes nothing
        if text.startswith(written):
            rest = _spell(allowed[1:], blank, text[len(written) :])
            if rest is not None:
                return (label, *rest)
    return None


def _stack(schema: Schema, encoded: Sequence[Mapping[str, object]]) -> Targets:
    choices, labels = {}, {}
    for head in schema.heads:
        if head.kind is HeadKind.CHOICE:
            choices[head.name] = np.array(
                [row.get(head.name, MISSING) for row in encoded], dtype=np.int64
            )
        else:
            absent = np.full(head.size, MISSING, np.int8)
            labels[head.name] = np.stack(
                [np.asarray(row.get(head.name, absent), np.int8) for row in encoded]
            )
    return Targets(choices, labels)
