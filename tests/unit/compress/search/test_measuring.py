from __future__ import annotations

import json
import time
from dataclasses import replace
from functools import partial
from itertools import cycle
from pathlib import Path

import pytest

import benchmarks.scenarios.warming
import compress.search.measuring
from benchmarks.budget import Limit
from benchmarks.metric_kinds import kind_of
from benchmarks.report import to_json
from compress.search.measuring import (
    Reference,
    check_limits,
    check_measurable,
    fact,
    facts_from_object,
    facts_to_object,
    fastest,
)
from compress.search.screening import leave_out
from runtime.errors import ConfigError
from tests.slimming import SCHEMA, SPEC, tiny_config, tiny_network, write_checkpoint, write_lamps
from train.data import load_crops

from .cases import EXACT, LATENCY, SIZE, record

LIMITS = (EXACT, LATENCY, SIZE)


def test_facts_survive_a_file() -> None:
    facts = (
        fact("latency.engine_ms", 0.25, stat="p50", scenario="single-stream", noisy=True),
        fact("accuracy.exact", None, stat="mean"),
    )
    assert facts_from_object(json.loads(to_json(facts_to_object(facts)))) == facts


def test_the_fastest_query_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compress.search.measuring, "_QUICK_S", 0.05)
    monkeypatch.setattr(compress.search.measuring, "quietest", lambda timed, tries: timed())
    brief = partial(benchmarks.scenarios.warm_up, min_runs=2, min_s=0.01, max_s=0.02)
    monkeypatch.setattr(benchmarks.scenarios.warming, "warm_up", lambda query, max_s: brief(query))
    naps = cycle([0.02, 0.004, 0.01])
    least_ms, noisy = fastest(lambda: time.sleep(next(naps)))
    assert 4 <= least_ms < 9
    assert isinstance(noisy, bool)


def test_only_what_is_beyond_the_margin_is_left_out_and_the_worst_is_said() -> None:
    fits, nearly = record(0.9, ms=0.2, mb=0.5), record(0.8, ms=0.32, mb=1.3)
    large, both = record(0.7, ms=0.2, mb=1.5), record(0.5, ms=0.9, mb=1.5)
    assert leave_out([fits, nearly, large, both], LIMITS) == [fits, nearly]
    assert large.failure == "misses size.engine_mb <= 1.2 by 25% before any training"
    assert both.failure == "misses latency.engine_ms p50 <= 0.3 by 200% before any training"


def test_a_busy_machine_leaves_nothing_out_for_its_speed() -> None:
    slow = record(0.9, ms=0.9, mb=0.5)
    slow.speed = tuple(replace(f, noisy=f.metric == "latency.engine_ms") for f in slow.speed)
    assert leave_out([slow], LIMITS) == [slow]
    slow.speed += (fact("size.engine_mb", 2.0),)
    slow.speed = tuple(f for f in slow.speed if f.value != 0.5)
    assert leave_out([slow], LIMITS) == []


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    folder = tmp_path_factory.mktemp("reference")
    checkpoint = write_checkpoint(folder / "base", tiny_network(), tiny_config())
    write_lamps(folder / "val", 8, seed=0)
    return Reference.of(checkpoint, load_crops([folder / "val"], SCHEMA, SPEC))


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (Limit(metric="accuracy.head.hat", min=0.9), "did you mean accuracy.head."),
        (Limit(metric="latency.queue_ms", stat="p50", max=1), "add scenario, one of server"),
    ],
)
def test_a_limit_that_nothing_could_keep_fails_at_once(
    reference: Reference, limit: Limit, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_limits([limit], reference)


@pytest.mark.parametrize(
    ("metric", "engines", "message"),
    [
        (
            "latency.picture_ms",
            ("onnx",),
            r"^limit on latency.picture_ms p50 <= 5: .*decodes its cr",
        ),
        ("energy.offline_mj", ("onnx",), "one crop a call"),
        ("energy.engine_mj", ("onnx",), "no meter, no meter; search without it"),
        ("size.gpu_mb", ("onnx", "openvino"), "no GPU runs any of onnx, openvino"),
        ("size.gpu_mb", ("onnx", "trt"), "no NVML"),
    ],
)
def test_a_limit_that_is_not_measured_here_fails_at_once(
    monkeypatch: pytest.MonkeyPatch, metric: str, engines: tuple[str, ...], message: str
) -> None:
    monkeypatch.setattr(compress.search.measuring, "find_meter", lambda gpu: "no meter, no meter")
    monkeypatch.setattr(compress.search.measuring, "gpu_used_mb", lambda: "no NVML")
    stat = "p50" if metric.endswith("_ms") else None
    with pytest.raises(ConfigError, match=message):
        check_measurable([EXACT, Limit(metric=metric, stat=stat, max=5)], engines)


def test_one_engine_with_a_meter_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        compress.search.measuring, "find_meter", lambda gpu: "no meter" if gpu else object()
    )
    monkeypatch.setattr(compress.search.measuring, "gpu_used_mb", lambda: 100.0)
    limits = [Limit(metric=metric, max=5) for metric in ("energy.engine_mj", "size.gpu_mb")]
    check_measurable([*LIMITS, *limits], ("trt", "onnx"))


def test_every_metric_of_the_budgets_page_may_be_limited(
    reference: Reference, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Path(__file__).parents[4] / "docs" / "budgets.md"
    rows = page.read_text(encoding="utf-8").split("## Metrics")[1].split("## Verdicts")[0]
    named = [cell for row in rows.splitlines() for cell in row.split("|")[1:2] if "`" in cell]
    metrics = [word for cell in named for word in cell.split("`")[1::2] if "NAME" not in word]
    metrics = [metric for metric in metrics if not metric.startswith(".")]
    assert len(metrics) >= 15
    limits = [
        Limit(metric=metric, stat=kind.stats[0], scenario=(*kind.scenarios, None)[0], max=1)
        for metric in metrics
        if (kind := kind_of(metric)) is not None
    ]
    assert len(limits) == len(metrics)
    check_limits(limits, reference)
    assert "thresholds are fitted on the validation crops" in capsys.readouterr().err
