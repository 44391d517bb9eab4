"""How often each label of each head is seen, and which are too rare to learn or to measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from runtime.arrays import Bools
from runtime.schema import HeadKind

from .survey import Survey

__all__ = ["HeadCoverage", "RareLabel", "cover"]

_FEW: Final = 5
_SCARCE_SHARE: Final = 0.01


@dataclass(frozen=True, slots=True)
class RareLabel:
    """A label that the training data hardly shows."""

    label: str
    count: int
    """Crops of the training data."""
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class HeadCoverage:
    """One head over S splits."""

    head: str
    labels: Sequence[str]
    counts: npt.NDArray[np.int64]
    """(S, K) crops per split and label."""
    given: npt.NDArray[np.int64]
    """(S,) crops whose label of this head is given."""
    rare: Sequence[RareLabel]
    """In the first split, rarest first."""

    def to_object(self, splits: Sequence[str]) -> Mapping[str, Any]:
        """Return everything for the report."""
        return {
            "given": dict(zip(splits, self.given.tolist(), strict=True)),
            "counts": {
                label: dict(zip(splits, column, strict=True))
                for label, column in zip(self.labels, self.counts.T.tolist(), strict=True)
            },
            "rare": [
                {"label": item.label, "count": item.count, "reason": item.reason}
                for item in self.rare
            ],
        }


def cover(survey: Survey) -> Sequence[HeadCoverage]:
    """Count the labels of every head in every split."""
    found = []
    for head in survey.schema.heads:
        if head.kind is HeadKind.CHOICE:
            bits: Bools = survey.targets.choices[head.name][:, None] == np.arange(head.size)
            known: Bools = survey.targets.choices[head.name] >= 0
        else:
            bits = survey.targets.labels[head.name] == 1
            known = np.asarray((survey.targets.labels[head.name] >= 0).any(axis=1))
        inside = [survey.of_split(name) for name in survey.splits]
        counts = np.stack([bits[rows].sum(axis=0) for rows in inside])
        given = np.array([known[rows].sum() for rows in inside])
        rare = _rare(head.labels, counts, int(given[0])) if given[0] else []
        found.append(HeadCoverage(head.name, head.labels, counts, given, rare))
    return found


def _rare(labels: Sequence[str], counts: npt.NDArray[np.int64], given: int) -> Sequence[RareLabel]:
    rare = []
    for place in np.argsort(counts[0], kind="stable"):
        count, elsewhere = int(counts[0, place]), int(counts[1:, place].sum())
        if count == 0:
            reason = f"never seen, but {elsewhere} elsewhere" if elsewhere else "never seen"
        elif count < _FEW:
            reason = f"fewer than {_FEW}"
        elif count < _SCARCE_SHARE * given:
            reason = f"less than {_SCARCE_SHARE:.0%}"
        else:
            break
        rare.append(RareLabel(labels[place], count, reason))
    return rare
