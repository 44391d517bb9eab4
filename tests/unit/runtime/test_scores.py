from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import ConfigError
from runtime.schema import Head, HeadKind, Schema
from runtime.scores import ACCEPT_NOTHING, OperatingPoint, probabilities
from tests.artifacts import SMALL_SCHEMA
from tests.strategies import operating_points, schemas

CHOICE = Head(name="c", kind=HeadKind.CHOICE, labels=("a", "b", "c"))
LABELS = Head(name="l", kind=HeadKind.LABELS, labels=("a", "b", "c"))


@given(st.data())
def test_operating_point_round_trip(data: st.DataObject) -> None:
    schema: Schema = data.draw(schemas())
    point = data.draw(operating_points(schema))
    point.check_schema(schema)
    assert OperatingPoint.from_object(json.loads(json.dumps(point.to_object()))) == point


@pytest.mark.parametrize(
    "values",
    [
        {"temperatures": {"first": 0.0}},
        {"temperatures": {"first": math.nan}},
        {"temperatures": {"first": math.inf}},
        {"choice_thresholds": {"first": -0.1}},
        {"choice_thresholds": {"first": math.nan}},
        {"label_thresholds": {"extras": (0.5, 2.5, 0.5)}},
        {"answer_threshold": math.nan},
        {"answer_threshold": 2.1},
        {"precision_floor": 0.0},
        {"precision_floor": math.nan},
    ],
)
def test_values_out_of_range(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        OperatingPoint(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"temperatures": {"frist": 1.0}},
        {"choice_thresholds": {"extras": 0.5}},
        {"label_thresholds": {"first": (0.5, 0.5, 0.5)}},
        {"label_thresholds": {"extras": (0.5,)}},
    ],
)
def test_values_that_do_not_fit_the_schema(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        OperatingPoint(**values).check_schema(SMALL_SCHEMA)


@pytest.mark.parametrize(
    "change",
    [
        {"answer_threshold": "0.5"},
        {"answer_threshold": True},
        {"label_thresholds": {"extras": 0.5}},
        {"temperatures": [1.0]},
        {"treshold": 1},
    ],
)
def test_from_object_is_strict(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        OperatingPoint.from_object({**OperatingPoint().to_object(), **change})


def test_accept_nothing_is_above_every_confidence() -> None:
    assert OperatingPoint(answer_threshold=ACCEPT_NOTHING).answer_threshold == 2.0


@pytest.mark.parametrize("head", [CHOICE, LABELS], ids=str)
@given(
    rows=st.lists(st.tuples(*[st.floats(-1e4, 1e4, width=32)] * 3), min_size=1, max_size=4),
    temperature=st.floats(0.05, 20),
)
def test_probabilities_against_python(
    head: Head, rows: list[tuple[float, float, float]], temperature: float
) -> None:
    found = probabilities(head, np.asarray(rows, np.float32), temperature)
    for values, row in zip(rows, found, strict=True):
        scaled = [value / temperature for value in values]
        if head.kind is HeadKind.CHOICE:
            weights = [math.exp(value - max(scaled)) for value in scaled]
            expected = [weight / sum(weights) for weight in weights]
        else:
            expected = [1 / (1 + math.exp(-max(min(v, 700), -700))) for v in scaled]
        assert row == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_thresholds_of_default_to_a_half() -> None:
    assert OperatingPoint().thresholds_of(LABELS).tolist() == [0.5, 0.5, 0.5]
