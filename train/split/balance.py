"""What came out of a split against what was asked: the parts' shares, and their classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.report import Rows
from train.audit.coverage import HeadCoverage

from .groups import Groups
from .parts import PARTS, Assignment

__all__ = ["class_rows", "missing_classes", "part_rows", "to_object"]

_NAMED = 6
"""Missing classes that a cell of the table names; all are in the JSON."""


def part_rows(assignment: Assignment, groups: Groups, shares: Sequence[float]) -> Rows:
    """Return a table row for each part: what was asked and what it got."""
    rows = []
    for index, (name, share) in enumerate(zip(PARTS, shares, strict=True)):
        inside = assignment.part == index
        row = {
            "part": name,
            "asked": f"{share:.1%}",
            "got": f"{inside.mean():.1%}",
            "samples": str(int(inside.sum())),
            "groups": str(len(np.unique(groups.of[inside]))),
        }
        if assignment.kept.any():
            row["kept from --like"] = str(int((inside & assignment.kept).sum()))
        rows.append(row)
    return rows


def class_rows(coverage: Sequence[HeadCoverage]) -> Rows:
    """Return a table row for each head: how far its classes' shares in the parts are off.

    Of each part, the class whose share differs most from its share in all data, in percentage
    points; and the classes that the data has and a part lacks.
    """
    rows = []
    for head in coverage:
        if not head.given.any():
            continue
        off = _differences(head)
        worst = np.abs(off).argmax(axis=1)
        missing = missing_classes(head)
        cells = {
            name: f"{100 * off[index, worst[index]]:+.1f} {head.labels[worst[index]]}"
            if head.given[index]
            else "no labels"
            for index, name in enumerate(PARTS)
        }
        lacking = [f"{name}: {_some(labels)}" for name, labels in missing.items() if labels]
        rows.append({"head": head.head, **cells, "missing": "; ".join(lacking)})
    return rows


def missing_classes(head: HeadCoverage) -> Mapping[str, Sequence[str]]:
    """Return, by part, the classes that the data has and the part lacks; only parts with crops."""
    seen = head.counts.sum(axis=0) > 0
    return {
        name: [head.labels[k] for k in np.flatnonzero(seen & (head.counts[index] == 0)).tolist()]
        for index, name in enumerate(PARTS)
        if head.given[index]
    }


def to_object(coverage: Sequence[HeadCoverage]) -> Mapping[str, Any]:
    """Return all classes' counts, and those that parts lack, for ``split.json``."""
    return {
        head.head: {
            "counts": {
                name: dict(zip(head.labels, head.counts[index].tolist(), strict=True))
                for index, name in enumerate(PARTS)
            },
            "missing": missing_classes(head),
        }
        for head in coverage
    }


def _differences(head: HeadCoverage) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return (parts, K) share of each class in a part less its share in all data."""
    of_all = head.counts.sum(axis=0) / head.given.sum()
    return np.asarray(head.counts / np.maximum(head.given, 1)[:, None] - of_all)


def _some(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else ""
    return ", ".join(labels[:_NAMED]) + more
