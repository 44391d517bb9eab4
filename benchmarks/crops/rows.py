"""Labelled rows as a source gives them, before anything is checked."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .label_encoding import Form
from .pictures import Pictures
from .texts import Texts

__all__ = ["RowBuilder", "Rows"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """N rows: where the picture is, and what is written about it."""

    pictures: Pictures
    texts: Texts
    forms: npt.NDArray[np.uint8]
    """(N,) ``Form`` of each text."""
    file: Path | None = None
    """The list or table that the rows stand in, if any."""
    lines: npt.NDArray[np.int64] | None = None
    """(N,) line numbers in ``file``, from 1."""
    faults: Mapping[int, str]
    """Row to why it cannot be used, as far as can be told without schema and picture."""
    note: str = ""
    """What a person should know about how the source was read."""

    def __len__(self) -> int:
        return len(self.texts)

    def where(self, row: int) -> str:
        """Return what to call a row in a message: file and line, or the picture."""
        if self.lines is None:
            return str(self.pictures[row])
        return f"{self.file}:{self.lines[row]}"


class RowBuilder:
    """Collects rows; what it holds per row are bytes, not objects.

    Args:
        file: The list or table that the rows stand in, if any.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._names, self._texts = Texts(), Texts()
        self._forms, self._home, self._lines = array("B"), array("i"), array("q")
        self._spans, self._boxes = array("q"), array("q")
        self._faults: dict[int, str] = {}

    def add(
        self,
        name: str,
        text: str,
        form: Form = Form.COLUMN,
        *,
        home: int = 0,
        line: int | None = None,
        span: tuple[int, int] | None = None,
        box: Sequence[int] | None = None,
        fault: str | None = None,
    ) -> None:
        """Add a row; ``line``, ``span`` and ``box`` must be given for all rows or for none."""
        if fault is not None:
            self._faults[len(self._texts)] = fault
        self._names.append(name)
        self._texts.append(text)
        self._forms.append(form)
        self._home.append(home)
        self._lines.extend([] if line is None else [line])
        self._spans.extend(span or ())
        self._boxes.extend(box or ())

    def done(self, homes: Sequence[Path], note: str = "") -> Rows:
        """Return the rows; their names are relative to ``homes``."""
        spans, boxes = np.array(self._spans, np.int64), np.array(self._boxes, np.int64)
        return Rows(
            pictures=Pictures(
                homes=homes,
                home=np.array(self._home, np.int32),
                names=self._names,
                spans=spans.reshape(-1, 2) if len(spans) else None,
                boxes=boxes.reshape(-1, 4) if len(boxes) else None,
            ),
            texts=self._texts,
            forms=np.array(self._forms, np.uint8),
            file=self._file,
            lines=np.array(self._lines, np.int64) if self._lines else None,
            faults=self._faults,
            note=note,
        )
