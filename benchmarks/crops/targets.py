"""The truth of labelled samples as label indices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from runtime.schema import HeadKind, Schema

__all__ = ["MISSING", "Encoded", "Targets", "empty_targets"]

MISSING: Final = -1

Encoded: TypeAlias = Mapping[str, int | npt.NDArray[np.int8]]
"""Choice head to label index, labels head to (K,) of 0, 1 and -1; heads not given are left out."""


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

    def put(self, row: int, encoded: Encoded) -> None:
        """Set the labels of one row that ``encoded`` gives."""
        for name, value in encoded.items():
            (self.choices if name in self.choices else self.labels)[name][row] = value

    def row(self, index: int) -> Encoded:
        """Return the labels that one row gives."""
        choices = {name: int(value[index]) for name, value in self.choices.items()}
        labels = {name: value[index] for name, value in self.labels.items()}
        return {
            **{name: value for name, value in choices.items() if value != MISSING},
            **{name: bits for name, bits in labels.items() if (bits != MISSING).any()},
        }

    @classmethod
    def joined(cls, parts: Sequence[Targets]) -> Targets:
        """Return the rows of all ``parts``, one after the other; at least one part."""
        first = parts[0]
        return cls(
            {
                name: np.concatenate([part.choices[name] for part in parts])
                for name in first.choices
            },
            {name: np.concatenate([part.labels[name] for part in parts]) for name in first.labels},
        )


def empty_targets(schema: Schema, count: int) -> Targets:
    """Return ``count`` rows in which every label is missing."""
    choices = [head for head in schema.heads if head.kind is HeadKind.CHOICE]
    labels = [head for head in schema.heads if head.kind is HeadKind.LABELS]
    return Targets(
        {head.name: np.full(count, MISSING, np.int64) for head in choices},
        {head.name: np.full((count, head.size), MISSING, np.int8) for head in labels},
    )
