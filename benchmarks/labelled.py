"""Labelled crops on disk, read and checked against a schema (docs/data-formats.md).

What is understood: lists (``lists``), tables with a header (``tables``), a folder with
``labels.tsv`` in it, a tree of labelled folders, and tar shards (``shards``).

A label column holds one *field* per reading, then one per head outside readings, split at
commas: ``苏E8D2K3``, ``苏E8D2K3,blue,single``, ``black,jeans``. A field may be empty, and fields at
the end may be left out: that label is missing and masked. A labels head takes its labels split at
``|`` (``-`` for none of them); where it is the only field, commas split them as well.

Sets of a million crops fit: what is kept per crop are some thirty bytes beside its name, label and
targets, and no picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from runtime.arrays import Image, Images
from runtime.errors import DataError
from runtime.preprocess import InputSpec, fit
from runtime.schema import Schema

from .crops.label_encoding import (
    NOT_GIVEN,
    Form,
    encoder,
    label_places,
    named_labels,
    split_labels,
    written,
)
from .crops.lists import LIST_FILE, list_rows, tree_rows
from .crops.pictures import DIGEST_BYTES, Pictures, content_digest, for_each, read_image
from .crops.rows import Rows
from .crops.shards import shard_rows, shards_of
from .crops.spelling import encode_reading
from .crops.tables import find_header, table_rows
from .crops.targets import Targets, empty_targets
from .crops.texts import Texts

__all__ = [
    "LIST_FILE",
    "LabelledCrops",
    "Targets",
    "bad_rows_error",
    "check_rows",
    "encode_reading",
    "label_columns",
    "list_file",
    "read_image",
    "read_labelled",
    "scan_rows",
    "shorten_digest",
    "split_labels",
]

_REPORTED_ROWS: Final = 100

Show: TypeAlias = Callable[[int, Image], None]
"""Called, from threads and in no certain order, with the row and its picture."""


def shorten_digest(digest: str) -> str:
    """Return as much of a digest as is written down where somebody reads it."""
    return digest[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledCrops:
    """N checked crops: every path is a readable picture, every label is in the schema."""

    source: Path
    schema: Schema
    paths: Pictures
    texts: Texts
    """N label columns: as written, or put together from labels that were given otherwise."""
    targets: Targets
    contents: npt.NDArray[np.uint8]
    """(N, 16) ``content_digest`` of each picture's file as it was when it was checked."""
    rows: npt.NDArray[np.int64]
    """(N,) which rows of the source these are, from 0."""
    bad_rows: Sequence[str] = ()
    """Rows left out with ``skip_bad``, each with file, line and reason."""
    note: str = ""
    """How the source was read, where a person should know: the columns of a table."""

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def digest(self) -> str:
        """SHA-256 over file names, contents and labels, in order: which samples these are."""
        digest = hashlib.sha256()
        for index, text in enumerate(self.texts):
            content = self.contents[index].tobytes().hex()
            line = f"{self.paths.identity(index)}\t{content}\t{text}\n"
            digest.update(line.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    @property
    def short_digest(self) -> str:
        """The digest as ``shorten_digest`` writes it; all samples are hashed for it."""
        return shorten_digest(self.digest)

    def take(self, index: npt.NDArray[np.integer]) -> LabelledCrops:
        """Return the samples at ``index``."""
        return replace(
            self,
            paths=self.paths.take(index),
            texts=self.texts.take(index),
            targets=self.targets.take(index),
            contents=self.contents[index],
            rows=self.rows[index],
        )

    def image(self, index: int) -> Image:
        """Read one picture, (H, W, 3) uint8 BGR at its own size.

        Raises:
            DataError: it vanished or changed since it was checked.
        """
        return self.paths.read(index)

    def images(self) -> Iterator[Image]:
        """Read the pictures one after the other, at their own size."""
        return map(self.image, range(len(self)))

    def fitted(self, spec: InputSpec) -> Images:
        """Read all pictures at the network's input size: (N, height, width, 3) uint8."""
        stacked = np.empty((len(self), *spec.shape), np.uint8)

        def load(index: int) -> None:
            stacked[index] = fit(self.image(index), spec)

        for_each(len(self), load)
        return stacked


def read_labelled(source: Path, schema: Schema, *, skip_bad: bool = False) -> LabelledCrops:
    """Read and check labelled crops.

    Args:
        source: A list or table, a folder with ``labels.tsv``, a tree of labelled folders, a tar
            shard, a folder of shards or a pattern ``shards-{000..009}.tar``.
        schema: What the labels must fit.
        skip_bad: Leave bad rows out instead of failing.

    Raises:
        DataError: no rows, or bad rows, all of them named with file and line.
    """
    return check_rows(source, scan_rows(source, schema), schema, skip_bad=skip_bad)


def scan_rows(source: Path, schema: Schema | None) -> Rows:
    """Read the rows of a source that ``read_labelled`` takes; no picture is opened.

    Args:
        source: A list, table, tree or shards.
        schema: Names the columns of a table that count, and what numbers stand for; without one
            all columns count, and labels given as numbers cannot be read.

    Raises:
        DataError: the source cannot be read as a whole, or has no rows.
    """
    rows = _read_rows(source, _wanted(schema) if schema else lambda _: True, schema)
    if not len(rows):
        raise DataError(f"{source}: no samples; expected lines of path<TAB>label")
    return rows


def _wanted(schema: Schema) -> Callable[[str], bool]:
    """Return whether a table's column of a name gives labels."""
    places = label_places(schema)
    named = {head.name for head in schema.heads} | {item.name for item in schema.readings}
    of_labels = {head.name for head, _ in places.values()}
    return lambda name: name in named or name in places or name.partition("=")[0] in of_labels


def check_rows(
    source: Path, rows: Rows, schema: Schema, *, skip_bad: bool = False, show: Show | None = None
) -> LabelledCrops:
    """Check the rows of ``scan_rows``: every label against the schema, every picture by reading it.

    Args:
        source: Where the rows come from.
        rows: What was scanned.
        schema: What the labels must fit.
        skip_bad: Leave bad rows out instead of failing.
        show: Shown every picture that can be read, so that it need not be decoded again.

    Raises:
        DataError: bad rows, all of them named with file and line.
    """
    targets, texts, faults = _encode(rows, schema)
    contents = np.zeros((len(rows), DIGEST_BYTES), np.uint8)
    for row, fault in _picture_faults(rows.pictures, contents, show).items():
        faults[row] = f"{fault}; {faults[row]}" if row in faults else fault
    bad = [f"{rows.where(row)}: {faults[row]}" for row in sorted(faults)]
    if (bad and not skip_bad) or len(bad) == len(rows):
        raise bad_rows_error(source, bad, len(rows))
    crops = LabelledCrops(
        source=source,
        schema=schema,
        paths=rows.pictures,
        texts=texts,
        targets=targets,
        contents=contents,
        rows=np.arange(len(rows)),
        bad_rows=bad,
        note=rows.note,
    )
    return crops.take(np.delete(crops.rows, sorted(faults))) if faults else crops


def _read_rows(source: Path, wanted: Callable[[str], bool], schema: Schema | None = None) -> Rows:
    """Dispatch by what ``source`` is; ``wanted`` says whether a table's column gives labels."""
    shards = shards_of(source)
    if shards is not None:
        return shard_rows(shards)
    file = list_file(source)
    if file is None:
        return tree_rows(source)
    header = find_header(file)
    return list_rows(file, schema) if header is None else table_rows(file, header, wanted)


def list_file(source: Path) -> Path | None:
    """Return the list or table that ``source`` is, or that stands in it; None for trees and shards.

    Raises:
        DataError: a compressed tar file.
    """
    if shards_of(source) is not None:
        return None
    file = source / LIST_FILE if source.is_dir() else source
    return None if source.is_dir() and not file.is_file() else file


def label_columns(source: Path, names: Collection[str] = ()) -> Iterator[tuple[str, str]]:
    """Yield (place, label column) of every row, unchecked: to derive a schema from.

    Args:
        source: What ``read_labelled`` takes.
        names: Columns of a table, or keys of JSON labels, to put the label column together from,
            in this order; other sources have it as it is. A labels head may also be given by
            columns ``name=label`` of 0 and 1.

    Raises:
        DataError: ``source`` cannot be read, has none of the columns, or numbers for labels.
    """
    rows = _read_rows(source, lambda column: column.partition("=")[0] in names)
    for row, text in enumerate(rows.texts):
        form = rows.forms[row]
        if form == Form.NUMBERS:
            raise DataError(
                f"{rows.where(row)}: the label is a number; write a schema file that names the "
                "labels in the order of the numbers"
            )
        yield rows.where(row), text if form == Form.COLUMN else _column(text, names)


def _column(text: str, names: Collection[str]) -> str:
    """Return the label column of the fields called ``names``."""
    fields = {name: label for name, label in named_labels(text).items() if label != NOT_GIVEN}
    for name in names:
        prefix = f"{name}="
        bits = {key: label for key, label in fields.items() if key.startswith(prefix)}
        if bits and name not in fields:  # all names count, also of labels that never hold
            fields[name] = "|".join(key.removeprefix(prefix) for key in bits)
    return ",".join(fields.get(name, "") for name in names)


def _encode(rows: Rows, schema: Schema) -> tuple[Targets, Texts, dict[int, str]]:
    """Return the targets and label columns of all rows, and why rows are bad."""
    encoders = {int(form): encoder(schema, Form(form)) for form in np.unique(rows.forms)}
    targets, texts, faults = empty_targets(schema, len(rows)), Texts(), dict(rows.faults)
    for row, (form, text) in enumerate(zip(rows.forms.tolist(), rows.texts, strict=True)):
        column = text if form == Form.COLUMN else ""
        if row not in rows.faults:
            try:
                encoded = encoders[form](text)
            except DataError as error:
                faults[row] = str(error)
            else:
                targets.put(row, encoded)
                column = column or written(schema, encoded)
        texts.append(column)
    return targets, texts, faults


def _picture_faults(
    pictures: Pictures, contents: npt.NDArray[np.uint8], show: Show | None
) -> Mapping[int, str]:
    """Read all pictures, note their digests, show them, and return why rows are bad."""
    faults: dict[int, str] = {}

    def check(row: int) -> None:
        try:
            content = pictures.content(row)
            contents[row] = content_digest(content)
            image = pictures.decode(row, content)
        except DataError as error:
            faults[row] = str(error)
        else:
            if show is not None:
                show(row, image)

    for_each(len(pictures), check)
    return faults


def bad_rows_error(source: Path, bad: Sequence[str], total: int) -> DataError:
    """Return the error that names the bad rows of a source."""
    shown = "\n  ".join(bad[:_REPORTED_ROWS])
    more = f"\n  ... and {len(bad) - _REPORTED_ROWS} more" if len(bad) > _REPORTED_ROWS else ""
    return DataError(
        f"{source}: {len(bad)} of {total} rows cannot be used; mend them or pass --skip-bad "
        f"to leave them out:\n  {shown}{more}"
    )
