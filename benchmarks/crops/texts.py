"""Many short texts in one buffer: a hundred thousand paths or labels without as many objects."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

__all__ = ["Texts"]

# File names that are not UTF-8 reach Python as lone surrogates; they must come back unchanged.
_CODEC = ("utf-8", "surrogatepass")


class Texts(Sequence[str]):
    """N texts that take their UTF-8 bytes and 8 more each; they can be added to, never changed.

    Args:
        texts: What to hold, in order; may be an iterator.
    """

    __slots__ = ("_data", "_ends")

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._data = bytearray()
        self._ends = array("q", [0])  # N + 1: where each text begins, and the last one ends
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        """Add one text at the end."""
        self._data += text.encode(*_CODEC)
        self._ends.append(len(self._data))

    def extend(self, other: Texts) -> None:
        """Add all texts of ``other`` at the end."""
        start = len(self._data)
        self._data += other._data
        self._ends.frombytes((np.asarray(other._ends)[1:] + start).tobytes())

    def take(self, index: npt.NDArray[np.integer]) -> Texts:
        """Return the texts at ``index``, which counts from 0."""
        taken = Texts()
        for place in index:
            taken._data += self._data[self._ends[place] : self._ends[place + 1]]
            taken._ends.append(len(taken._data))
        return taken

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Texts: ...
    def __getitem__(self, index: int | slice) -> str | Texts:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        place = range(len(self))[index]  # raises IndexError, counts from the end
        return self._data[self._ends[place] : self._ends[place + 1]].decode(*_CODEC)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Texts):
            return NotImplemented
        return self._data == other._data and self._ends == other._ends

    __hash__ = None  # type: ignore[assignment]
