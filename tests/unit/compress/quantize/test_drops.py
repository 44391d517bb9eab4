"""What a compressed network loses, and what it may."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.labelled import Targets
from compress.quantize.drops import allowed_drops, divergence, drop_rows, measure_drops
from runtime.decode import Decoded, decode
from runtime.errors import ConfigError
from runtime.schema import Head, HeadKind, Reading, Schema
from runtime.scores import OperatingPoint

SCHEMA = Schema(
    name="plate",
    heads=(
        Head(name="a", kind=HeadKind.CHOICE, labels=("0", "1"), drop_budget=0.1),
        Head(name="b", kind=HeadKind.CHOICE, labels=("0", "1")),
        Head(name="extras", kind=HeadKind.LABELS, labels=("x", "y"), drop_budget=0.2),
    ),
    readings=(Reading(name="text", heads=("a", "b")),),
)


def answers(a: list[int], b: list[int], extras: list[tuple[int, int]]) -> Decoded:
    """What sure scores of these labels are decoded to."""
    logits = {
        "a": np.eye(2, dtype=np.float32)[a] * 8,
        "b": np.eye(2, dtype=np.float32)[b] * 8,
        "extras": np.array(extras, np.float32) * 16 - 8,
    }
    return decode(SCHEMA, logits, OperatingPoint())


def targets(a: list[int], b: list[int], extras: list[tuple[int, int]]) -> Targets:
    return Targets({"a": np.array(a), "b": np.array(b)}, {"extras": np.array(extras, np.int8)})


def test_budgets_come_from_the_schema_and_the_flags() -> None:
    own = allowed_drops(SCHEMA, None, {})
    assert own == {"exact": 0.01, "text": 0.01, "a": 0.1, "b": 0.003, "extras": 0.2}
    same = allowed_drops(SCHEMA, 0.05, {"b": 0.5, "text": 0})
    assert same == {"exact": 0.05, "text": 0, "a": 0.05, "b": 0.5, "extras": 0.05}
    with pytest.raises(ConfigError, match=r"no head or reading \['c'\]; there are \['exact', 'te"):
        allowed_drops(SCHEMA, None, {"c": 0.1})


def test_drops_of_heads_readings_and_the_whole() -> None:
    none = [(0, 0)] * 4
    truth = targets([0, 0, 0, 0], [0, 0, 0, -1], none)
    before = answers([0, 0, 0, 1], [0, 0, 1, 0], none)
    after = answers([1, 0, 0, 0], [0, 1, 1, 0], [(0, 0), (0, 0), (0, 0), (1, 0)])
    budgets = {"exact": 0.3, "text": 0.3, "a": 0.0, "b": 0.0, "extras": 0.0}
    drops = measure_drops(SCHEMA, before, after, truth, budgets)
    found = {drop.name: drop for drop in drops}
    assert (found["a"].before, found["a"].after) == (0.75, 0.75)  # one lost, one gained
    assert (found["a"].paired.only_first, found["a"].paired.only_second) == (1, 1)
    assert (found["b"].before, found["b"].after) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert found["b"].paired.total == 3  # of the last crop the label is not known
    assert (found["text"].before, found["text"].after) == (pytest.approx(2 / 3), 0)
    assert (found["extras"].before, found["extras"].after) == (1, 0.75)
    # Of the last crop, what is known was wrong before, too.
    assert (found["exact"].before, found["exact"].after) == (0.5, 0)
    within = {name: drop.within for name, drop in found.items()}
    assert within == {"exact": False, "text": False, "a": True, "b": False, "extras": False}
    assert str(found["exact"]).startswith("exact loses 0.5000 (")
    assert found["exact"].to_object()["drop"] == 0.5
    rows = drop_rows([*found.values()])
    assert [row["allowed"] for row in rows] == [
        "0.3 EXCEEDED", "1 of 3 crops (more than 0.3) EXCEEDED", "0", "0 EXCEEDED", "0 EXCEEDED"
    ]  # fmt: skip


def test_one_crop_is_within_any_budget_but_none() -> None:
    none = [(0, 0)] * 10
    truth = targets([0] * 10, [0] * 10, none)
    before = answers([0] * 10, [0] * 10, none)
    for lost, budget, within in (
        (1, 0.001, True),
        (1, 0.0, False),
        (2, 0.15, False),
        (2, 0.2, True),
    ):
        after = answers([1] * lost + [0] * (10 - lost), [0] * 10, none)
        (found,) = measure_drops(SCHEMA, before, after, truth, {"a": budget})
        assert found.within is within


def test_a_budget_of_less_than_a_crop_is_told_as_the_one_that_it_allows() -> None:
    none = [(0, 0)] * 10
    truth, before = targets([0] * 10, [0] * 10, none), answers([0] * 10, [0] * 10, none)
    after = answers([1, 1] + [0] * 8, [0] * 10, none)
    for budget, allowed in ((0.05, "1 of 10 crops (more than 0.05)"), (0.0, "0"), (0.1, "0.1")):
        (found,) = measure_drops(SCHEMA, before, after, truth, {"a": budget})
        assert str(found).endswith(f"on 10 crops, allowed are {allowed}")
        assert drop_rows([found])[0]["allowed"] == f"{allowed} EXCEEDED"


def test_a_head_without_labels_loses_nothing() -> None:
    none = [(0, 0)] * 2
    truth = targets([0, 0], [-1, -1], none)
    both = answers([0, 0], [0, 1], none)
    (found,) = measure_drops(SCHEMA, both, both, truth, {"b": 0.0})
    assert found.within
    assert np.isnan(found.before)
    assert drop_rows([found]) == []


def test_divergence_is_that_of_the_definition() -> None:
    expected = {
        "a": np.log(np.array([[0.9, 0.1], [0.5, 0.5]], np.float32)),
        "b": np.zeros((2, 2), np.float32),
        "extras": np.log(np.array([[0.8, 0.5]] * 2, np.float32) / (1 - np.array([[0.8, 0.5]] * 2))),
    }
    found = {
        "a": np.log(np.array([[0.6, 0.4], [0.5, 0.5]], np.float32)),
        "b": np.zeros((2, 2), np.float32),
        "extras": np.zeros((2, 2), np.float32),
    }
    result = divergence(SCHEMA, expected, found)
    first = 0.9 * np.log(0.9 / 0.6) + 0.1 * np.log(0.1 / 0.4)
    label = 0.8 * np.log(0.8 / 0.5) + 0.2 * np.log(0.2 / 0.5)
    assert result["a"] == pytest.approx(first / 2, rel=1e-5)
    assert result["b"] == 0
    assert result["extras"] == pytest.approx(label, rel=1e-5)


def test_divergence_of_sure_scores_is_finite() -> None:
    sure = {"a": np.array([[500.0, -500.0]], np.float32)}
    wrong = {"a": np.array([[-500.0, 500.0]], np.float32)}
    schema = Schema(name="one", heads=SCHEMA.heads[:1])
    assert 10 < divergence(schema, sure, wrong)["a"] < 100
    assert divergence(schema, sure, sure)["a"] == 0
