from __future__ import annotations

from benchmarks.budget import Limit
from compress.search.explaining import explain

from .cases import EXACT, LATENCY, SIZE, confirm, record

LIMITS = (EXACT, LATENCY, SIZE)


def test_the_binding_limit_stands_with_what_the_nearest_miss_and_the_others_reach() -> None:
    records = [
        confirm(record(0.5, ms=0.6), LIMITS, exact=0.98),
        confirm(record(0.8, ms=0.31), LIMITS, exact=0.968),
        confirm(record(0.9, ms=0.2), LIMITS, exact=0.95),
    ]
    assert explain(records, LIMITS, "latency") == [
        "nearest miss: w1-t0.8-int8-openvino",
        "binds: accuracy.exact >= 0.97; the nearest miss has 0.968 at 0.31 ms; of those that keep "
        "all other limits, w1-t0.9-int8-openvino comes nearest with 0.95 at 0.2 ms",
        "binds: latency.engine_ms p50 <= 0.3; the nearest miss has 0.31 at 0.31 ms; of those that "
        "keep all other limits, w1-t0.5-int8-openvino comes nearest with 0.6 at 0.6 ms",
    ]


def test_one_limit_that_is_too_tight_alone_is_said_to_be() -> None:
    records = [
        confirm(record(0.8, ms=0.3), LIMITS, exact=0.958),
        confirm(record(0.9, ms=0.2), LIMITS, exact=0.95),
    ]
    assert explain(records, LIMITS, "latency") == [
        "nearest miss: w1-t0.8-int8-openvino",
        "binds: accuracy.exact >= 0.97; the nearest miss has 0.958 at 0.3 ms, the best of those "
        "that keep all other limits",
    ]


def test_a_limit_that_was_not_measured_is_named() -> None:
    limits = (EXACT, Limit(metric="energy.engine_mj", max=5.0))
    told = explain([confirm(record(0.5, ms=0.2), limits, exact=0.98)], limits, "latency")
    assert told[0] == "nearest miss: w1-t0.5-int8-openvino"
    assert told[1].startswith("energy.engine_mj <= 5: not measured")
    assert len(told) == 2


def test_without_any_training_speed_and_size_say_it() -> None:
    records = [record(0.5, ms=0.9, mb=3.0), record(0.9, ms=0.5, mb=1.3)]
    for each in records:
        each.failure = "misses latency"
    assert explain(records, LIMITS, "latency") == [
        "nearest miss: w1-t0.9-int8-openvino, judged by its speed and size",
        "binds: latency.engine_ms p50 <= 0.3; the nearest miss has 0.5 at 0.5 ms; no candidate "
        "keeps all other limits",
        "binds: size.engine_mb <= 1.2; the nearest miss has 1.3 at 0.5 ms; no candidate keeps all "
        "other limits",
    ]


def test_nothing_measured_is_nothing_to_explain() -> None:
    broken = record(0.5, ms=0.5)
    broken.speed = ()
    assert explain([broken], LIMITS, "latency") == ["no candidate could be measured"]


def test_what_failed_its_gate_is_nearest_only_where_nothing_else_is() -> None:
    broken, other = record(0.8, ms=0.2, exact=0.969), record(0.9, ms=0.1, exact=0.9)
    broken.failure = "the gate says no"
    nearest = "nearest miss: w1-t{}-int8-openvino, judged by a short training"
    assert explain([broken, other], LIMITS, "latency")[0] == nearest.format(0.9)
    assert explain([broken], LIMITS, "latency")[0] == nearest.format(0.8)
