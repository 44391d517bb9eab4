from __future__ import annotations

from compress.slim.comparison import Side, comparison_rows

LATENCY = {
    "medians_ms": {"before": 9.0, "after": 4.0},
    "speedups": {"before": {"value": 1.0}, "after": {"value": 2.25, "bounds": [2.0, 2.5]}},
}


ENGINE = {**LATENCY, "name": "onnxruntime"}


def side(parameters: int, exact: float) -> Side:
    heads = {"colour": exact, "unlabelled": float("nan")}
    return Side(parameters=parameters, macs=2 * parameters, exact=exact, heads=heads)


def test_changes_are_stated() -> None:
    rows = {
        row["metric"]: row
        for row in comparison_rows(side(4000, 0.98), side(1000, 0.975), LATENCY, ENGINE)
    }
    assert rows["parameters"]["change"] == "-75.0%"
    assert rows["MACs"]["after"] == "2,000"
    assert rows["latency, torch FP32, batch 1, 1 thread"]["change"] == "2.25x [2.00, 2.50]"
    assert rows["exact"]["change"] == "-0.50 points"
    assert rows["latency, onnxruntime FP32, batch 1, 1 thread"]["after"] == "4.000 ms"
    assert "colour" in rows
    assert "unlabelled" not in rows
