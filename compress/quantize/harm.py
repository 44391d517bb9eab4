"""How much harm each layer does when it alone runs in INT8, and which go back to float for it.

Layers are ranked by the divergence of the heads' probabilities from the float network's: every crop
moves it, while a share of errors moves by whole crops and needs thousands of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.command import say
from benchmarks.report import Rows
from runtime.arrays import Images, Logits
from runtime.errors import ParityError
from runtime.schema import Schema
from train.progress import progress

from .decisions import Decisions
from .drops import EXACT, Changed, Drop, Verdict, divergence

__all__ = ["Outcome", "ReturnedLayer", "fit_budget", "rank_layers"]

_RANKING_CROPS: Final = 200

Judge = Callable[[Logits], Verdict]
"""Scores of the validation crops to what they lose and change."""


@dataclass(frozen=True, slots=True)
class ReturnedLayer:
    """A layer that went back to float."""

    name: str
    harm: float
    """Divergence of the exceeded heads when this layer alone is in INT8, nats per crop."""
    exceeded: str
    """The budget that it went back for."""

    def to_object(self) -> Mapping[str, Any]:
        """Return plain JSON values."""
        return {"layer": self.name, "harm": self.harm, "why": self.exceeded}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Which layers run in INT8 so that all budgets hold."""

    names: Sequence[str]
    """Layers in INT8, in the graph's order."""
    returned: Sequence[ReturnedLayer]
    """Layers that went back to float, in the order in which they did."""
    verdict: Verdict
    logits: Logits
    """Of the validation crops."""

    def rows(self) -> Rows:
        """Return table rows of the layers that went back."""
        return [
            {"layer": item.name, "harm alone, nats": f"{item.harm:.2e}", "why": item.exceeded}
            for item in self.returned
        ]


def rank_layers(decisions: Decisions, crops: Images) -> dict[str, dict[str, float]]:
    """Return every layer's divergence per head when it alone runs in INT8, in nats per crop.

    Args:
        decisions: Of the network.
        crops: (N, height, width, 3) uint8 to score.
    """
    reference = decisions.score((), crops)
    harms = {}
    with progress("layers alone in INT8", len(decisions.names)) as bar:
        for done, name in enumerate(decisions.names, start=1):
            alone = decisions.score((name,), crops)
            harms[name] = divergence(decisions.schema, reference, alone)
            bar(done, name)
    return harms


def fit_budget(
    decisions: Decisions,
    judge: Judge,
    score: Callable[[Collection[str]], Logits],
    crops: Images,
    *,
    lost: Sequence[Drop] = (),
) -> Outcome:
    """Take layers back to float, the most harmful first, until all budgets hold.

    Args:
        decisions: Of the network.
        judge: Says what the validation crops lose and change.
        score: Layers in INT8 to the scores of the validation crops.
        crops: Calibration crops, to rank layers on if need be.
        lost: Budgets that the float weights exceed as well, after a training.

    Raises:
        ParityError: the budgets hold for no layer in INT8, or not even for the float weights.
    """
    names = list(decisions.names)
    logits = score(names)
    verdict = judge(logits)
    returned: list[ReturnedLayer] = []
    harms: Mapping[str, Mapping[str, float]] = {}
    while exceeded := verdict.exceeded:
        say(f"{'; '.join(map(str, exceeded))}")
        if lost:  # whatever layers go back
            raise ParityError(
                f"the training in INT8 itself costs too much, with all layers in float "
                f"{'; '.join(map(str, lost))}; train with a smaller --qat.lr, on more data or "
                "without --qat-steps, or allow more with --max-drop or --max-drops"
            )
        harms = harms or rank_layers(decisions, crops[:_RANKING_CROPS])
        heads = _heads(decisions.schema, exceeded)
        harm = {name: sum(harms[name][head] for head in heads) for name in names}
        if len(harm) <= 1:
            raise ParityError(
                f"{exceeded[0]}, with all layers but {names} back in float; keep the float "
                "network, train with --qat-steps, or allow more with --max-drop, --max-drops or "
                "--max-flips"
            )
        worst = max(harm, key=harm.__getitem__)
        names.remove(worst)
        returned.append(ReturnedLayer(worst, harm[worst], str(exceeded[0])))
        say(f"{worst} goes back to float")
        logits = score(names)
        verdict = judge(logits)
    return Outcome(names, returned, verdict, logits)


def _heads(schema: Schema, exceeded: Sequence[Drop | Changed]) -> list[str]:
    """Return the heads that exceeded budgets are about."""
    readings = {reading.name: reading.heads for reading in schema.readings}
    whole = [head.name for head in schema.heads]
    found = set[str]()
    for each in exceeded:
        if isinstance(each, Changed) or each.name == EXACT:
            found.update(whole)
        else:
            found.update(readings.get(each.name, (each.name,)))
    return [name for name in whole if name in found]
