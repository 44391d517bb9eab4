"""Sizes per split, and how they fit the input."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.train.audit.crops import scene, survey_of
from train.audit.sizes import measure_sizes


def test_sizes_against_the_input(tmp_path: Path) -> None:
    sizes = [(40, 80), (40, 80), (20, 100), (60, 60), (30, 31)]
    rows = [(scene(k, height=h, width=w), "blue") for k, (h, w) in enumerate(sizes)]
    survey = survey_of(tmp_path, train=rows, test=rows[:1])
    train, test = measure_sizes(survey, (30, 60))
    assert train.crops == 5
    assert train.quantiles["height"]["min"] == 20
    assert train.quantiles["height"]["median"] == 40
    assert train.quantiles["width"]["max"] == 100
    assert train.quantiles["aspect"]["max"] == pytest.approx(5)
    assert train.smaller == pytest.approx(2 / 5)  # 20 px high; 31 px wide
    assert train.squeezed == pytest.approx(1 / 5)  # 5 : 1 into 2 : 1; exactly twofold is not
    assert (test.smaller, test.squeezed) == (0, 0)


def test_without_an_input_sizes_alone(tmp_path: Path) -> None:
    (train,) = measure_sizes(survey_of(tmp_path, train=[(scene(0), "blue")]), None)
    assert train.smaller is None
    assert train.squeezed is None
    assert train.to_object()["width"]["median"] == 80
