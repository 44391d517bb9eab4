"""Planted label errors are found, named and ranked first."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.labelled import Targets
from runtime.errors import MissingExtraError
from runtime.schema import Head, HeadKind, Reading, Schema
from runtime.scores import OperatingPoint
from train.audit.label_issues import Suspect, find_suspects

PLATE = Schema(
    name="plate",
    heads=(
        Head(name="first", kind=HeadKind.CHOICE, labels=("A", "B", "C", "D")),
        Head(name="second", kind=HeadKind.CHOICE, labels=("_", "0", "1", "2", "3")),
        Head(name="colour", kind=HeadKind.CHOICE, labels=("blue", "yellow")),
    ),
    readings=(Reading(name="plate", heads=("first", "second"), blank="_"),),
)
TAGS = Schema(
    name="tags",
    heads=(Head(name="tags", kind=HeadKind.LABELS, labels=("bag", "hat", "shoe")),),
)
LogitsOf = Mapping[str, npt.NDArray[np.float32]]


def scored(
    truth: Mapping[str, npt.NDArray[np.int64]], random: np.random.Generator
) -> dict[str, npt.NDArray[np.float32]]:
    """Logits of a network that is right in about 97 % of the cases, and unsure where it is not."""
    logits = {}
    for head in PLATE.heads:
        rows = random.normal(0, 1, (len(truth[head.name]), head.size))
        rows[np.arange(len(rows)), truth[head.name]] += 5
        logits[head.name] = rows.astype(np.float32)
    return logits


def choices(targets: Mapping[str, npt.NDArray[np.int64]]) -> Targets:
    return Targets(dict(targets), {})


@settings(max_examples=8)
@given(seed=st.integers(0, 2**32 - 1))
def test_most_flips_are_in_the_first_six_percent(seed: int) -> None:
    random = np.random.default_rng(seed)
    count = 600
    truth = {head.name: random.integers(0, head.size, count) for head in PLATE.heads}
    logits, wrong = scored(truth, random), {name: row.copy() for name, row in truth.items()}
    flipped = random.choice(count, round(0.03 * count), replace=False)
    for crop in flipped:
        head = PLATE.heads[random.integers(len(PLATE.heads))]
        wrong[head.name][crop] = (wrong[head.name][crop] + 1) % head.size
    found = find_suspects(PLATE, logits, choices(wrong), OperatingPoint())
    first = {item.crop for item in found[: round(0.06 * count)]}
    assert len(first & set(flipped.tolist())) >= 0.8 * len(flipped)
    scores = [item.score for item in found]
    assert scores == sorted(scores)
    assert len({item.crop for item in found}) == len(found)


def test_suspect_names_head_label_and_suggestion() -> None:
    random = np.random.default_rng(0)
    truth = {head.name: random.integers(0, head.size, 200) for head in PLATE.heads}
    truth["first"][7], truth["second"][7], truth["colour"][7] = 1, 3, 0  # B2, blue
    logits = {
        head.name: np.eye(head.size, dtype=np.float32)[truth[head.name]] * 20
        for head in PLATE.heads
    }
    given_labels = {name: row.copy() for name, row in truth.items()}
    given_labels["second"][7] = 0  # B, blue
    (found,) = find_suspects(PLATE, logits, choices(given_labels), OperatingPoint())
    score = 1 / (np.exp(20) + 4)  # softmax of 20 against four zeros, for one of the zeros
    assert found == Suspect(
        crop=7,
        head="second",
        given="_",
        suggested="2",
        column="B2,blue",
        score=pytest.approx(score),
        likely=True,
    )


def test_scores_are_calibrated() -> None:
    head = PLATE.heads[2]
    schema = Schema(name="one", heads=(head,))
    logits = {"colour": np.array([[4, 0], [0, 4], [4, 0], [0, 4]], np.float32)}
    targets = choices({"colour": np.array([0, 1, 1, 1])})
    operating = OperatingPoint(temperatures={"colour": 2.0})
    (found,) = find_suspects(schema, logits, targets, operating)
    assert found.crop == 2
    assert found.score == pytest.approx(1 / (1 + np.exp(2)))


def test_an_unsure_network_is_not_believed() -> None:
    # The one contradiction is weaker than what the network usually says of "blue".
    logits = {"colour": np.array([[3, 0]] * 20 + [[0, 3]] * 20 + [[0.1, 0]], np.float32)}
    targets = choices({"colour": np.array([0] * 20 + [1] * 21)})
    schema = Schema(name="one", heads=(PLATE.heads[2],))
    (found,) = find_suspects(schema, logits, targets, OperatingPoint())
    assert found.crop == 40
    assert not found.likely


def test_label_given_once_by_mistake_is_marked() -> None:
    # Without a second sample of the label the confident joint alone counts nothing.
    logits = np.full((60, 4), -12, np.float32)
    logits[np.arange(60), np.arange(60) % 3] = 0
    logits[5, 2] = -7  # a little less sure than the others
    given_labels = np.arange(60) % 3
    given_labels[5] = 3
    schema = Schema(name="one", heads=(PLATE.heads[0],))
    found = find_suspects(
        schema, {"first": logits}, choices({"first": given_labels}), OperatingPoint()
    )
    assert [(item.crop, item.given, item.suggested, item.likely) for item in found] == [
        (5, "D", "C", True)
    ]


def test_labels_heads_are_judged_label_by_label() -> None:
    bits = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]] * 25, np.int8)
    logits = {"tags": (np.where(bits, 6, -6)).astype(np.float32)}
    wrong = bits.copy()
    wrong[4] = [0, 0, 1]  # a bag that was called a shoe
    found = find_suspects(TAGS, logits, Targets({}, {"tags": wrong}), OperatingPoint())
    assert [(item.crop, item.given, item.suggested, item.column) for item in found] == [
        (4, "shoe", "bag", "bag")
    ]
    assert found[0].likely


def test_thresholds_of_labels_heads_count() -> None:
    logits = {"tags": np.array([[1, -9, -9], [9, -9, -9]], np.float32)}  # sigmoid(1) = 0.73
    targets = Targets({}, {"tags": np.array([[0, 0, 0], [1, 0, 0]], np.int8)})
    strict = OperatingPoint(label_thresholds={"tags": (0.8, 0.5, 0.5)})
    assert find_suspects(TAGS, logits, targets, strict) == []
    (found,) = find_suspects(TAGS, logits, targets, OperatingPoint())
    assert (found.given, found.suggested) == ("-", "bag")


def test_missing_labels_are_not_judged() -> None:
    logits = {"tags": np.full((3, 3), 9, np.float32)}
    bits = np.array([[-1, -1, -1], [1, -1, 1], [1, 1, 0]], np.int8)
    found = find_suspects(TAGS, logits, Targets({}, {"tags": bits}), OperatingPoint())
    assert [(item.crop, item.suggested) for item in found] == [(2, "bag|hat|shoe")]


@pytest.mark.parametrize("value", [-1, 0, 1])
def test_heads_of_one_given_label_or_none(value: int) -> None:
    logits = {"colour": np.array([[5, 0], [5, 0], [5, 0]], np.float32)}
    schema = Schema(name="one", heads=(PLATE.heads[2],))
    targets = choices({"colour": np.full(3, value)})
    found = find_suspects(schema, logits, targets, OperatingPoint())
    assert [item.crop for item in found] == ([0, 1, 2] if value == 1 else [])


def test_missing_cleanlab_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    with pytest.raises(MissingExtraError, match=r"headlight\[train\]"):
        find_suspects(TAGS, {}, Targets({}, {}), OperatingPoint())
