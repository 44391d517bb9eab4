"""All that an audit found, counted, and as plain values for ``audit.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.report import Rows

from .coverage import HeadCoverage
from .duplicates import KINDS, Duplicates
from .label_issues import Suspect
from .sizes import SplitSizes
from .survey import Survey

__all__ = ["Findings"]

_LISTED_PAIRS: Final = 10_000


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Findings:
    """The result of one audit."""

    survey: Survey
    duplicates: Duplicates
    readings: Sequence[Mapping[str, Any]]
    """Texts that stand in more than one split."""
    coverage: Sequence[HeadCoverage]
    sizes: Sequence[SplitSizes]
    exposure: Mapping[str, npt.NDArray[np.int64]]
    """What is wrong with the light to the crops that show little."""
    suspects: Sequence[Suspect] | None
    """Most doubtful first; None where no checkpoint was given."""
    notes: Sequence[str]
    """What to know about the audit itself."""

    @property
    def leaks(self) -> Duplicates:
        """Pairs across splits."""
        return self.duplicates.take(self.duplicates.crosses)

    @property
    def problems(self) -> Mapping[str, int]:
        """What to look at, counted, worst first."""
        crossing, pairs = self.leaks, self.duplicates
        faults = [row.fault for row in self.survey.bad_rows]
        found = {
            "crops that leak between splits": len(np.unique(crossing.second)),
            "pictures missing or corrupt": faults.count("picture"),
            "rows outside the schema": faults.count("label"),
            "duplicates with different labels": int(pairs.conflicts.sum()),
            "exact duplicates inside a split": len(pairs.take(~pairs.crosses).redundant),
            "pictures that show nothing": sum(len(index) for index in self.exposure.values()),
        }
        if self.suspects is not None:
            found["labels probably wrong"] = sum(item.likely for item in self.suspects)
        return found

    @property
    def rare_labels(self) -> int:
        """Labels that the training data hardly shows; a fact about the data, not a fault."""
        return sum(len(head.rare) for head in self.coverage)

    @property
    def strict_failures(self) -> int:
        """Problems that ``--strict`` does not accept: leakage and rows that cannot be used."""
        return len(np.unique(self.leaks.second)) + len(self.survey.bad_rows)

    def leak_rows(self) -> Rows:
        """Return a table of leaking pairs, by splits and kind."""
        leaks, split = self.leaks, self.survey.split
        rows = []
        for a, b in combinations(range(len(self.survey.splits)), 2):
            between = (split[leaks.first] == a) & (split[leaks.second] == b)
            pairs = leaks.take(between)
            counts = {name: str(int((pairs.kind == k).sum())) for k, name in enumerate(KINDS)}
            names = f"{self.survey.splits[a]} and {self.survey.splits[b]}"
            different = str(int(pairs.conflicts.sum()))
            rows.append({"between": names, **counts, "of these with different labels": different})
        return rows

    def to_object(self) -> Mapping[str, Any]:
        """Return everything that was found; pairs up to a limit, all counted."""
        survey, pairs = self.survey, self.duplicates
        inside = [survey.of_split(name) for name in survey.splits]
        return {
            "crops": {
                name: int(rows.sum()) for name, rows in zip(survey.splits, inside, strict=True)
            },
            "excluded": survey.excluded,
            "problems": self.problems,
            "notes": self.notes,
            "bad_rows": [
                {"split": row.split, "fault": row.fault, "row": row.text} for row in survey.bad_rows
            ],
            "duplicates": {
                "pairs": len(pairs),
                "across_splits": int(pairs.crosses.sum()),
                "cut_off": pairs.cut_off,
                "listed": [self._pair(place) for place in range(min(len(pairs), _LISTED_PAIRS))],
            },
            "readings_in_several_splits": self.readings,
            "heads": {head.head: head.to_object(survey.splits) for head in self.coverage},
            "sizes": {item.split: item.to_object() for item in self.sizes},
            "exposure": {
                kind: [survey.rows[crop] for crop in crops] for kind, crops in self.exposure.items()
            },
            "suspects": None
            if self.suspects is None
            else [self._suspect(item) for item in self.suspects],
        }

    def _pair(self, place: int) -> Mapping[str, Any]:
        pairs, survey = self.duplicates, self.survey
        crops = (int(pairs.first[place]), int(pairs.second[place]))
        return {
            "kind": KINDS[pairs.kind[place]],
            "bits": int(pairs.distance[place]),
            "splits": [survey.splits[survey.split[crop]] for crop in crops],
            "rows": [survey.rows[crop] for crop in crops],
            "labels": [survey.texts[crop] for crop in crops],
            "different_labels": bool(pairs.conflicts[place]),
        }

    def _suspect(self, item: Suspect) -> Mapping[str, Any]:
        return {
            "row": self.survey.rows[item.crop],
            "given": self.survey.texts[item.crop],
            "suggested": item.column,
            "head": item.head,
            "score": item.score,
            "likely": item.likely,
        }
