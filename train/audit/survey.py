"""All crops of all splits with what is known about them; bad rows are kept as findings."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.crops.pictures import Pictures
from benchmarks.crops.texts import Texts
from benchmarks.labelled import LabelledCrops, Targets, check_rows, scan_rows
from runtime.arrays import Bools, Image
from runtime.schema import Schema
from train.progress import progress

from .pictures import PictureFacts, check_imagehash

__all__ = ["BadRow", "Survey", "take_survey"]

_PICTURE: Final = "picture"
_LABEL: Final = "label"


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used."""

    split: str
    fault: str
    """``picture``: missing, corrupt or too small; ``label``: outside the schema."""
    text: str
    """File, line and reason."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Survey:
    """N usable crops of one or more splits, and the rows that are not usable."""

    schema: Schema
    splits: Sequence[str]
    """Names of the splits, training data first."""
    split: npt.NDArray[np.int64]
    """(N,) index into ``splits``."""
    parts: Sequence[LabelledCrops]
    """The crops of every source, in the order of the N."""
    paths: Pictures
    texts: Texts
    """N label columns."""
    rows: Texts
    """N places: file and line, or the file in a tree."""
    targets: Targets
    facts: PictureFacts
    bad_rows: Sequence[BadRow]
    excluded: int
    """Crops that were left out because the person asked for it."""

    def __len__(self) -> int:
        return len(self.split)

    def of_split(self, name: str) -> Bools:
        """Return which crops are of a split, (N,)."""
        inside: Bools = self.split == self.splits.index(name)
        return inside


@dataclass(frozen=True, slots=True)
class _Part:
    crops: LabelledCrops
    places: Texts
    facts: PictureFacts
    bad_rows: Sequence[BadRow]
    excluded: int


def take_survey(
    sources: Mapping[str, Sequence[Path]], schema: Schema, exclude: Collection[str] = ()
) -> Survey:
    """Read, check and measure all crops.

    Args:
        sources: Split to its lists or trees, training data first; splits without one are left out.
        schema: What the labels should fit.
        exclude: Places of rows (``Survey.rows``) to leave out.

    Raises:
        DataError: a source cannot be read at all, or has no usable row.
        MissingExtraError: ImageHash is not installed.
    """
    check_imagehash()
    splits = [name for name, paths in sources.items() if paths]
    named = [(name, path) for name in splits for path in sources[name]]
    parts = [_read(name, path, schema, exclude) for name, path in named]
    split = [splits.index(name) for name, _ in named]
    return Survey(
        schema=schema,
        splits=splits,
        split=np.repeat(split, [len(part.crops) for part in parts]),
        parts=[part.crops for part in parts],
        paths=Pictures.joined([part.crops.paths for part in parts]),
        texts=Texts(text for part in parts for text in part.crops.texts),
        rows=Texts(place for part in parts for place in part.places),
        targets=Targets.joined([part.crops.targets for part in parts]),
        facts=PictureFacts.joined([part.facts for part in parts]),
        bad_rows=[row for part in parts for row in part.bad_rows],
        excluded=sum(part.excluded for part in parts),
    )


def _read(name: str, source: Path, schema: Schema, exclude: Collection[str]) -> _Part:
    rows = scan_rows(source, schema)
    facts = PictureFacts.empty(len(rows))
    readable = np.zeros(len(rows), np.bool_)
    done = count(1)

    with progress(f"{name}: {source.name}", len(rows)) as watch:

        def show(row: int, image: Image) -> None:
            facts.put(row, image, rows.pictures.content(row))
            readable[row] = True
            watch(next(done), "")

        crops = check_rows(source, rows, schema, skip_bad=True, show=show)
    bad = np.setdiff1d(np.arange(len(rows)), crops.rows)
    bad_rows = [
        BadRow(name, _LABEL if readable[row] else _PICTURE, text)
        for row, text in zip(bad, crops.bad_rows, strict=True)
    ]
    places = [rows.where(row) for row in crops.rows.tolist()]
    kept = np.flatnonzero([place not in exclude for place in places])
    return _Part(
        crops=crops.take(kept),
        places=Texts(places[place] for place in kept),
        facts=facts.take(crops.rows[kept]),
        bad_rows=bad_rows,
        excluded=len(places) - len(kept),
    )
