"""What is said about the time that slimming saved."""

from __future__ import annotations

import pytest

from compress.slim.comparison import Side
from compress.slim.verdict import foreseen, latency_verdict


def side(macs: int) -> Side:
    return Side(parameters=1, macs=macs, exact=1.0, heads={})


def timed(speedup: float, low: float, **more: object) -> dict[str, object]:
    times = {"before": 2.0, "after": 2.0 / speedup}
    return {
        "medians_ms": times,
        "speedups": {"after": {"value": speedup, "bounds": [low, speedup + 0.1]}},
        **more,
    }


PREDICTED = {
    "engine": "onnxruntime",
    "device": {"cpu": "a board"},
    "here": True,
    "before_ms": 2.0,
    "after_ms": 1.0,
    "fixed_ms": 0.4,
    "layers_ms": {"stem": 0.1, "a": 0.2, "b": 0.3},
}


def test_macs_that_save_no_time_were_not_worth_it() -> None:
    text = latency_verdict(side(1000), side(690), timed(1.02, 1.0), timed(1.0204, 1.0, name="ort"))
    assert text.startswith("-31% MACs, -2% latency in ort: not worth it, because ")
    # 2 % where 31 % could be: 1 - 0.02 / 0.31 of 2 ms stay.
    assert "about 1.87 of 2.00 ms do not shrink" in text


def test_a_gain_that_is_not_sure_is_none() -> None:
    assert ": not worth it" in latency_verdict(side(10), side(5), timed(1.5, 1.04))
    assert ": not worth it" in latency_verdict(side(10), side(5), timed(1.5, float("nan")))
    assert ": worth it" in latency_verdict(side(10), side(5), timed(1.5, 1.3))


def test_far_less_than_the_macs_promise_says_where_the_time_is() -> None:
    found = latency_verdict(
        side(1000), side(200), timed(3, 3), timed(1.25, 1.2, name="ort"), PREDICTED
    )
    assert found.startswith("-80% MACs, -20% latency in ort: worth it, but far from")
    assert "40% of the time left is fixed for every call" in found
    assert "b 30%, a 20%, stem 10%" in found


@pytest.mark.parametrize("engine", [None, {"name": "ort", "noisy": True}])
def test_torch_alone_and_noise_are_told(engine: dict[str, object] | None) -> None:
    speedup = timed(2.0, 1.9)
    text = latency_verdict(side(10), side(4), speedup, engine and {**speedup, **engine})
    assert ("benchmarks.latency" in text) == (engine is None)
    assert ("NOISY" in text) == (engine is not None)


def test_what_became_slower_is_called_that() -> None:
    slower = timed(0.8, 0.75, name="ort")
    expected = "-50% MACs, +25% latency in ort: not worth it, because it became slower, 2.00 -> 2.5"
    for predicted in (None, PREDICTED):
        text = latency_verdict(side(10), side(5), slower, slower, predicted)
        assert text == f"{expected}0 ms"


def test_a_little_more_time_may_be_chance() -> None:
    text = latency_verdict(side(10), side(5), timed(0.99, 0.95, name="ort"))
    assert text.startswith("-50% MACs, +1% latency in ort: not worth it, because it is no faster, ")
    unknown = timed(0.8, 0.7)
    unknown["speedups"] = {"after": {"value": 0.8, "bounds": [float("nan"), float("nan")]}}
    assert "no faster" in latency_verdict(side(10), side(5), unknown)


@pytest.mark.parametrize("engine", [None, timed(1.02, 1.0, name="ort")])
def test_another_device_is_judged_by_its_own_milliseconds(
    engine: dict[str, object] | None,
) -> None:
    there = {**PREDICTED, "here": False}
    text = latency_verdict(side(10), side(6), timed(1.02, 1.0, noisy=True), engine, there)
    assert text == "-40% MACs, -50% latency foreseen in onnxruntime on a board: worth it"
    little = {**there, "after_ms": 1.98}
    text = latency_verdict(side(10), side(6), timed(3.0, 2.9), engine, little)
    assert "-1% latency foreseen in onnxruntime on a board: not worth it, because 20% of" in text


def test_another_device_is_named() -> None:
    assert foreseen(PREDICTED) == (
        "foreseen in onnxruntime on a board: 2.000 -> 1.000 ms (2.00x); measure it there"
    )
