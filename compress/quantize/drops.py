"""What a compressed network loses and changes against the one before, and what it may.

Few crops make a drop uncertain: on 100 crops one more error is a whole point. So every drop comes
with its 95 % interval, and one lost crop is within any budget above 0, else a set too small to hold
a fraction of a crop could never pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from benchmarks.compare import Flips, Paired, allowed_flips, mcnemar
from benchmarks.labelled import Targets
from benchmarks.metrics import Metrics, evaluate
from benchmarks.report import Rows
from runtime.arrays import Logits
from runtime.decode import Decoded
from runtime.errors import ConfigError
from runtime.schema import Schema
from runtime.scores import probabilities

__all__ = [
    "EXACT",
    "Changed",
    "Drop",
    "Verdict",
    "allowed_drops",
    "divergence",
    "drop_rows",
    "measure_drops",
]

EXACT: Final = "exact"
"""What the whole answer is called among heads and readings."""
_WHOLE: Final = 0.01
"""Budget of exact answers and readings where none is given."""


def allowed_drops(
    schema: Schema, overall: float | None, named: Mapping[str, float]
) -> dict[str, float]:
    """Return the budget of exact answers, of every reading and of every head, as shares.

    Args:
        schema: Heads with their own ``drop_budget``.
        overall: Budget of all of them in place of their own; None: heads have their own, exact
            answers and readings 0.01.
        named: Budgets of single ones, in place of both.

    Raises:
        ConfigError: a name that the schema does not have.
    """
    whole = [EXACT, *(reading.name for reading in schema.readings)]
    own = dict.fromkeys(whole, _WHOLE) | {head.name: head.drop_budget for head in schema.heads}
    unknown = sorted(set(named) - set(own))
    if unknown:
        raise ConfigError(f"--max-drops: no head or reading {unknown}; there are {[*own]}")
    return {name: overall if overall is not None else own[name] for name in own} | dict(named)


@dataclass(frozen=True, slots=True)
class Drop:
    """What one head, one reading or the exact answer loses."""

    name: str
    budget: float
    before: float
    """Accuracy before; NaN where no crop gives this label."""
    after: float
    paired: Paired

    @property
    def within(self) -> bool:
        """Whether the budget holds; a head that no crop has a label of loses nothing."""
        lost = self.paired.only_first - self.paired.only_second
        return lost <= (1.0 if self._less_than_one else self.budget * self.paired.total)

    @property
    def _less_than_one(self) -> bool:
        return 0 < self.budget * self.paired.total < 1

    @property
    def allowed(self) -> str:
        """What may be lost: the budget, or the one crop that it is raised to."""
        if self._less_than_one:
            return f"1 of {self.paired.total} crops (more than {self.budget:g})"
        return f"{self.budget:g}"

    def to_object(self) -> Mapping[str, Any]:
        """Return plain JSON values."""
        return {
            "budget": self.budget,
            "within": self.within,
            "before": self.before,
            "after": self.after,
            **self.paired.to_object(),
        }

    def __str__(self) -> str:
        low, high = self.paired.bounds(0.975)
        return (
            f"{self.name} loses {self.paired.drop:.4f} ({low:+.4f} to {high:+.4f}) on "
            f"{self.paired.total} crops, allowed are {self.allowed}"
        )


@dataclass(frozen=True, slots=True)
class Changed:
    """How many answers are others than before, right or wrong."""

    flips: Flips
    budget: float

    @property
    def within(self) -> bool:
        """Whether the budget holds, counted as the export gate counts."""
        return len(self.flips.where) <= allowed_flips(self.budget, self.flips.total)

    def __str__(self) -> str:
        allowed = allowed_flips(self.budget, self.flips.total)
        return (
            f"{len(self.flips.where)} of {self.flips.total} answers differ from those of the float "
            f"network, allowed are {int(allowed)} ({self.budget:g})"
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a compressed network loses and changes."""

    drops: Sequence[Drop]
    changed: Changed

    @property
    def exceeded(self) -> list[Drop | Changed]:
        """The budgets that do not hold."""
        changed = [] if self.changed.within else [self.changed]
        return [*(drop for drop in self.drops if not drop.within), *changed]


def measure_drops(
    schema: Schema,
    before: Decoded,
    after: Decoded,
    targets: Targets,
    budgets: Mapping[str, float],
) -> list[Drop]:
    """Compare two networks' answers for the same crops, each with thresholds of its own.

    Args:
        schema: Heads and readings.
        before: N answers.
        after: The same of the compressed network.
        targets: N truths.
        budgets: From ``allowed_drops``.
    """
    first, second = (evaluate(schema, answers, targets) for answers in (before, after))
    return [_drop(name, budget, first, second) for name, budget in budgets.items()]


def _drop(name: str, budget: float, first: Metrics, second: Metrics) -> Drop:
    if name == EXACT:
        given, right = first.given, [metrics.exact_right for metrics in (first, second)]
    else:
        given = first.unit_given[name]
        right = [metrics.unit_right[name] for metrics in (first, second)]
    shares = [float(values[given].mean()) if given.any() else float("nan") for values in right]
    return Drop(name, budget, shares[0], shares[1], mcnemar(right[0][given], right[1][given]))


def drop_rows(drops: Sequence[Drop]) -> Rows:
    """Return table rows of the drops that crops have labels for."""
    rows = []
    for drop in drops:
        if not drop.paired.total:
            continue
        low, high = drop.paired.bounds(0.975)
        rows.append(
            {
                "what": drop.name,
                "float": f"{drop.before:.4f}",
                "int8": f"{drop.after:.4f}",
                "drop, 95 % interval": f"{drop.paired.drop:+.4f} ({low:+.4f} to {high:+.4f})",
                "allowed": drop.allowed + ("" if drop.within else " EXCEEDED"),
            }
        )
    return rows


def divergence(schema: Schema, expected: Logits, found: Logits) -> dict[str, float]:
    """Return head name to the mean Kullback-Leibler divergence of its probabilities, in nats.

    Unlike a share of errors it moves with every change of the scores, so that some hundred crops
    rank layers. Labels heads sum the divergences of their labels, each a yes or no.

    Args:
        schema: Heads.
        expected: Head name to (N, K) logits of the reference.
        found: Those that shall be like them.
    """
    result = {}
    for head in schema.heads:
        p, q = (
            np.clip(probabilities(head, logits[head.name]).astype(np.float64), 1e-12, 1)
            for logits in (expected, found)
        )
        terms = p * np.log(p / q)
        if head.kind.value == "labels":
            no, other = np.clip(1 - p, 1e-12, 1), np.clip(1 - q, 1e-12, 1)
            terms = terms + no * np.log(no / other)
        result[head.name] = float(terms.sum(axis=1).mean())
    return result
