"""Which layers go back to float, and when it ends."""

from __future__ import annotations

from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import compress.quantize.harm
from benchmarks.compare import flips
from benchmarks.labelled import Targets
from compress.quantize.drops import Changed, Verdict, measure_drops
from compress.quantize.harm import fit_budget, rank_layers
from runtime.arrays import Logits
from runtime.decode import Decoded, decode
from runtime.errors import ParityError
from runtime.schema import Head, HeadKind, Schema
from runtime.scores import OperatingPoint

SCHEMA = Schema(
    name="two",
    heads=tuple(Head(name=name, kind=HeadKind.CHOICE, labels=("0", "1")) for name in ("a", "b")),
)
TRUTH = Targets({"a": np.zeros(10, np.int64), "b": np.zeros(10, np.int64)}, {})
HARM = {"stem": {"a": 3, "b": 0}, "middle": {"a": 1, "b": 1}, "last": {"a": 0, "b": 4}}
"""Crops of a head that a layer in INT8 turns over; those of several layers add up."""
NONE = np.zeros((1, 8, 8, 3), np.uint8)


def scores(names: Collection[str]) -> Logits:
    wrong = {head: sum(HARM[name][head] for name in names) for head in ("a", "b")}
    return {
        head: np.array([[-1, 1]] * count + [[1, -1]] * (10 - count), np.float32)
        for head, count in wrong.items()
    }


def answers(logits: Logits) -> Decoded:
    return decode(SCHEMA, logits, OperatingPoint())


DECISIONS: Any = SimpleNamespace(
    names=tuple(HARM), schema=SCHEMA, score=lambda names, _: scores(names)
)


def fit(most_flips: float = 1.0, **budgets: float) -> Any:
    before = answers(scores(()))

    def judge(logits: Logits) -> Verdict:
        after = answers(logits)
        drops = measure_drops(SCHEMA, before, after, TRUTH, budgets)
        return Verdict(drops, Changed(flips(before, after), most_flips))

    return fit_budget(DECISIONS, judge, scores, NONE)


def test_within_budget_all_layers_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        compress.quantize.harm, "rank_layers", lambda *_: pytest.fail("ranked for nothing")
    )
    found = fit(a=0.4, b=0.5)
    assert found.names == ["stem", "middle", "last"]
    assert found.returned == []


def test_the_layer_most_harmful_to_the_head_that_loses_goes_first() -> None:
    found = fit(a=0.1, b=1.0)
    assert found.names == ["middle", "last"]
    (returned,) = found.returned
    assert returned.name == "stem"
    assert returned.exceeded.startswith("a loses 0.4000 (")
    assert found.rows()[0]["layer"] == "stem"
    assert fit(a=1.0, b=0.1).names == ["stem", "middle"]


def test_layers_go_until_every_budget_holds() -> None:
    found = fit(a=0.1, b=0.1)
    assert found.names == ["middle"]
    assert [layer.name for layer in found.returned] == ["last", "stem"]
    assert found.verdict.exceeded == []
    assert found.returned[0].to_object()["layer"] == "last"


def test_exact_answers_are_about_all_heads() -> None:
    # Harm of both heads counts: 4 of "last", 3 of "stem", 2 of "middle".
    assert [layer.name for layer in fit(exact=0.4).returned] == ["last"]
    assert [layer.name for layer in fit(exact=0.3).returned] == ["last", "stem"]


def test_layers_go_until_few_enough_answers_are_others() -> None:
    # Of ten crops four or five are others with "last", three or four with "stem".
    loose = fit(0.4)
    assert loose.names == ["stem", "middle"]
    assert loose.returned[0].exceeded == (
        "5 of 10 answers differ from those of the float network, allowed are 4 (0.4)"
    )
    assert fit(0.5).returned == []
    assert [layer.name for layer in fit(0.1).returned] == ["last", "stem"]
    with pytest.raises(ParityError, match=r"1 of 10 answers differ .* or --max-flips"):
        fit(0.0)


def test_where_no_layer_can_stay_it_fails() -> None:
    with pytest.raises(ParityError, match=r"a loses 0.1000 .* on 10 crops, allowed are 0, with al"):
        fit(a=0.0, b=0.0)


def test_layers_are_ranked_by_what_they_do_alone() -> None:
    found = rank_layers(DECISIONS, NONE)
    assert list(found) == ["stem", "middle", "last"]
    assert found["stem"]["b"] == 0
    assert found["stem"]["a"] == pytest.approx(3 * found["middle"]["a"])
    assert found["last"]["b"] > found["middle"]["b"] > 0
