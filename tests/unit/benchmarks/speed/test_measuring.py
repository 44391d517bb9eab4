from __future__ import annotations

from benchmarks import budget
from benchmarks.budget import Limit
from benchmarks.speed import SCENARIOS, scenarios_for


def test_budgets_know_the_scenarios_that_there_are() -> None:
    assert {*SCENARIOS, "interleaved", "cold-start"} == budget.SCENARIOS


def test_what_a_budget_limits_is_measured() -> None:
    assert scenarios_for([]) == ["single-stream", "offline"]
    frames = Limit(metric="frames.late", max=0.1)
    server = Limit(metric="latency.read_ms", scenario="server", stat="p99", max=10)
    cold = Limit(metric="latency.cold_start_ms", scenario="cold-start", stat="p50", max=300)
    assert scenarios_for([frames, cold]) == ["single-stream", "offline", "camera"]
    assert scenarios_for([server]) == ["single-stream", "server", "offline"]
