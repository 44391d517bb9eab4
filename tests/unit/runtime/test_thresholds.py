from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from runtime import ConfigError, Thresholds
from runtime.scores import OperatingPoint
from tests.artifacts import SMALL_SCHEMA, TinyNetwork, random_images
from tests.sessions import POINT, FakeSession, fake_reader


def test_only_what_is_named_changes() -> None:
    wanted = Thresholds(
        answer=0.9, heads={"colour": 0.7}, labels={"extras": {"tilted": 0.6, "dirty": 0.1}}
    )
    found = wanted.applied(POINT, SMALL_SCHEMA)
    assert found == OperatingPoint(
        temperatures={"first": 1.5},
        choice_thresholds={"second": 0.5, "colour": 0.7},
        label_thresholds={"extras": (0.1, 0.6, 0.8)},
        answer_threshold=0.9,
    )
    assert Thresholds().applied(POINT, SMALL_SCHEMA) == POINT


def test_labels_never_fitted_start_from_one_half() -> None:
    wanted = Thresholds(labels={"extras": {"night": 0.9}})
    found = wanted.applied(OperatingPoint(precision_floor=0.99, fitted_on="x"), SMALL_SCHEMA)
    assert found.label_thresholds == {"extras": (0.5, 0.5, 0.9)}
    # What was promised at the fitted thresholds holds no longer.
    assert (found.precision_floor, found.fitted_on) == (None, None)


@pytest.mark.parametrize(
    "values",
    [
        {"answer": float("nan")},
        {"answer": -0.1},
        {"answer": 2.5},
        {"heads": {"none": 0.5}},
        {"heads": {"extras": 0.5}},
        {"heads": {"colour": float("inf")}},
        {"labels": {"none": {"a": 0.5}}},
        {"labels": {"colour": {"blue": 0.5}}},
        {"labels": {"extras": {"snow": 0.5}}},
        {"labels": {"extras": {"dirty": float("nan")}}},
    ],
)
def test_thresholds_that_do_not_fit(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Thresholds(**values).applied(POINT, SMALL_SCHEMA)


def test_a_reader_decides_by_them(network: TinyNetwork) -> None:
    with fake_reader(FakeSession(network.logits)) as reader:
        usual, image = next(
            (result, image)
            for image in random_images(8, seed=5)
            if (result := reader.read(image)).accepted
        )
    never = Thresholds(answer=2.0, labels={"extras": dict.fromkeys(("dirty", "tilted"), 0.0)})
    with fake_reader(FakeSession(network.logits), thresholds=never) as reader:
        result = reader.read(image)
        assert reader.operating.answer_threshold == 2.0
        assert reader.info.operating == POINT
    assert not result.accepted
    assert result.confidence == usual.confidence
    assert {"dirty", "tilted"} <= set(result.heads["extras"].labels)
    assert np.isclose(
        result.heads["extras"].probabilities["dirty"], usual.heads["extras"].probabilities["dirty"]
    )
