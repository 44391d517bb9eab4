"""The scores of one image in one piece of memory, so that decoding touches one array."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["JoinedScores", "ScoreBlock"]

_PAD: Final = np.full(1, -np.inf, np.float32)
"""After the last score: what a head that has fewer labels than others is filled up with."""


class JoinedScores(Mapping[str, npt.NDArray[np.float32]]):
    """Logits of one image: head name to (1, K), views that are made when they are asked for."""

    __slots__ = ("_places", "row")

    def __init__(self, row: npt.NDArray[np.float32], places: Mapping[str, slice]) -> None:
        self.row = row
        """(T + 1,) the scores of all heads, one head after the other, then -inf."""
        self._places = places

    @classmethod
    def of(
        cls, parts: Sequence[npt.NDArray[np.float32]], places: Mapping[str, slice]
    ) -> JoinedScores:
        """Join what an engine returned in pieces.

        Args:
            parts: (1, K) per head.
            places: Head name to its place in the row.
        """
        return cls(np.concatenate([*[part[0] for part in parts], _PAD]), places)

    def __getitem__(self, name: str) -> npt.NDArray[np.float32]:
        return self.row[None, self._places[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class ScoreBlock:
    """Where an engine writes the scores of one image; one thread at a time.

    Args:
        sizes: Head name to its number of labels, in schema order.
    """

    __slots__ = ("_row", "parts", "places", "whole")

    def __init__(self, sizes: Mapping[str, int]) -> None:
        ends = np.cumsum([*sizes.values()]).tolist()
        self.places = {
            name: slice(end - size, end)
            for (name, size), end in zip(sizes.items(), ends, strict=True)
        }
        """Head name to its place in the row."""
        self._row = np.append(np.zeros(ends[-1], np.float32), _PAD)
        self.whole = self._row[None, :-1]
        """(1, T) the scores of all heads, contiguous, to be bound to an engine's only output."""
        self.parts: Sequence[npt.NDArray[np.float32]] = [
            self._row[None, place] for place in self.places.values()
        ]
        """(1, K) per head, each contiguous, to be bound to an engine's outputs one by one."""

    def take(self) -> JoinedScores:
        """Return a copy of what the engine wrote."""
        return JoinedScores(self._row.copy(), self.places)
