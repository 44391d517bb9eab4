"""Where a schema's scores, labels and formats stand in the arrays that decoding works on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from .schema import Head, HeadKind, Reading, Schema

__all__ = ["Layout", "ReadingLayout", "layout_of"]


@dataclass(frozen=True, slots=True)
class ReadingLayout:
    """Where a reading's heads and formats are in the layout."""

    name: str
    places: tuple[int, ...]
    """``columns`` as plain numbers."""
    columns: npt.NDArray[np.int64]
    """(P,) column of each position among the C choice heads."""
    formats: npt.NDArray[np.int64] | None
    """(F, P) option row that each format allows at each position."""
    fitting: tuple[tuple[int, ...], ...]
    """Per position and label, the formats that allow it, as bits from the first; none without."""
    spelled: tuple[tuple[str, ...], ...]
    """P alphabets, the blank spelled as nothing."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What decoding needs of a schema.

    All logits stand side by side in one row of T, followed by a -inf. The C choice heads are
    padded to the longest one's length M by pointing at that -inf. An *option* is a set of labels
    that some format allows at a position; the first C options allow everything.
    """

    sizes: tuple[int, ...]
    """Scores of each head, in schema order."""
    columns: Mapping[str, int]
    """Choice head to its column among the C choice heads."""
    padded: npt.NDArray[np.int64]
    """(C, M) places in the row of logits."""
    places: Mapping[str, slice]
    """Head to its places in the row."""
    labels: Mapping[str, slice]
    """Labels head to its places in the row."""
    option_columns: npt.NDArray[np.int64]
    """(R,) choice column that an option restricts."""
    option_masks: npt.NDArray[np.float64]
    """(R, M): 0 where the option allows the label, -inf elsewhere."""
    readings: tuple[ReadingLayout, ...]
    heads: npt.NDArray[np.int64]
    """0 to C - 1."""


@lru_cache(maxsize=32)
def layout_of(schema: Schema) -> Layout:
    """Return the layout of a schema."""
    sizes = tuple(head.size for head in schema.heads)
    ends = np.cumsum(sizes).tolist()
    at = {h.name: slice(end - h.size, end) for h, end in zip(schema.heads, ends, strict=True)}
    chosen = [head for head in schema.heads if head.kind is HeadKind.CHOICE]
    columns = {head.name: column for column, head in enumerate(chosen)}
    padded = np.full((len(chosen), max((head.size for head in chosen), default=1)), sum(sizes))
    for column, head in enumerate(chosen):
        padded[column, : head.size] = np.arange(at[head.name].start, at[head.name].stop)
    options = _Options(schema, columns)
    return Layout(
        sizes=sizes,
        places=at,
        columns=columns,
        padded=padded,
        labels={h.name: at[h.name] for h in schema.heads if h.kind is HeadKind.LABELS},
        readings=tuple(options.place(reading) for reading in schema.readings),
        option_columns=np.asarray([column for column, _ in options.rows], np.int64),
        option_masks=options.masks(padded.shape[1]),
        heads=np.arange(len(chosen)),
    )


class _Options:
    """The distinct label sets of a schema's formats, each once; most formats share them."""

    def __init__(self, schema: Schema, columns: Mapping[str, int]) -> None:
        self._schema = schema
        self._columns = columns
        self.rows: dict[tuple[int, frozenset[int]], int] = {}
        for name, column in columns.items():
            self._add(column, range(schema.head(name).size))

    def _add(self, column: int, labels: Sequence[int]) -> int:
        return self.rows.setdefault((column, frozenset(labels)), len(self.rows))

    def place(self, reading: Reading) -> ReadingLayout:
        heads = [self._schema.head(name) for name in reading.heads]
        columns = [self._columns[name] for name in reading.heads]
        formats = [
            [
                self._add(column, [head.labels.index(label) for label in labels])
                for column, head, labels in zip(columns, heads, allowed.positions, strict=True)
            ]
            for allowed in reading.formats
        ]
        return ReadingLayout(
            name=reading.name,
            places=tuple(columns),
            columns=np.asarray(columns, np.int64),
            formats=np.asarray(formats, np.int64) if formats else None,
            fitting=_fitting(heads, reading),
            spelled=tuple(
                tuple("" if label == reading.blank else label for label in head.labels)
                for head in heads
            ),
        )

    def masks(self, width: int) -> npt.NDArray[np.float64]:
        masks = np.full((len(self.rows), width), -np.inf)
        for (_, labels), row in self.rows.items():
            masks[row, sorted(labels)] = 0.0
        return masks


def _fitting(heads: Sequence[Head], reading: Reading) -> tuple[tuple[int, ...], ...]:
    if not reading.formats:
        return ()
    return tuple(
        tuple(
            sum(1 << bit for bit, allowed in enumerate(places) if label in allowed)
            for label in head.labels
        )
        for head, places in zip(
            heads,
            zip(*(allowed.positions for allowed in reading.formats), strict=True),
            strict=True,
        )
    )
