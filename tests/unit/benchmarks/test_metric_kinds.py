from __future__ import annotations

import pytest

from benchmarks.budget import FAMILIES
from benchmarks.metric_kinds import METRICS, close_to, kind_of


def test_every_family_has_a_command() -> None:
    assert {metric.partition(".")[0] for metric in METRICS} == set(FAMILIES)


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("accuracy.head.colour", "right answers of head colour"),
        ("accuracy.head.colour.map", "mean average precision of head colour"),
        ("accuracy.reading.plate-no.2", "right texts (plate-no.2)"),
        ("size.gpu_mb", "memory of the GPU"),
    ],
)
def test_the_narrowest_pattern_is_found(metric: str, words: str) -> None:
    kind = kind_of(metric)
    assert kind is not None
    assert kind.words == words


@pytest.mark.parametrize("metric", ["", "accuracy", "accuracy.head.", "size.engine_mb.x", "size*"])
def test_what_nothing_measures_has_no_kind(metric: str) -> None:
    assert kind_of(metric) is None


def test_names_that_are_meant_are_told() -> None:
    assert close_to("latency.engin_ms").startswith("latency.engine_ms")
    assert close_to("energy") == "energy.idle_w or energy.read_mj or energy.engine_mj"
    assert "accuracy.head.NAME" in close_to("accuracy.head")
    assert close_to("zzz", ["b", "a"]) == "a or b"
